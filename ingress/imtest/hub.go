// Package imtest plays the servers of the platforms' long connections for
// tests. It is never part of the program.
package imtest

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// Ack is what a client answered to a frame.
type Ack struct {
	Code    int
	Message string // DingTalk only
	Data    []byte
}

// ErrNoAck says that the connection ended before an answer came.
var ErrNoAck = errors.New("the connection ended without an answer")

// hub has the connections of one server.
type hub struct {
	mu      sync.Mutex
	conns   []*conn
	tickets map[string]time.Time // unused ones and when they expire
	opens   int
	dials   int
	pings   int
	muted   bool
	changed chan struct{} // closed and made anew with each change
}

type conn struct {
	ws      *websocket.Conn
	writing sync.Mutex
	mu      sync.Mutex
	acks    map[string]chan Ack
	ended   chan struct{}
}

func newHub() *hub {
	return &hub{tickets: map[string]time.Time{}, changed: make(chan struct{})}
}

// change runs f and wakes who waits for a change.
func (h *hub) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	close(h.changed)
	h.changed = make(chan struct{})
}

// Wait waits until ok.
func (h *hub) wait(ctx context.Context, ok func() bool) error {
	for {
		h.mu.Lock()
		done, changed := ok(), h.changed
		h.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// WaitConnected waits until exactly n clients are connected.
func (h *hub) WaitConnected(ctx context.Context, n int) error {
	return h.wait(ctx, func() bool { return len(h.conns) == n })
}

// WaitDials waits until clients have connected n times since the start.
func (h *hub) WaitDials(ctx context.Context, n int) error {
	return h.wait(ctx, func() bool { return h.dials >= n })
}

// WaitPings waits until clients have pinged n times since the start.
func (h *hub) WaitPings(ctx context.Context, n int) error {
	return h.wait(ctx, func() bool { return h.pings >= n })
}

// Connected is how many clients are connected, Opens how often one asked where
// to connect, and Dials how often one connected.
func (h *hub) Connected() int { h.mu.Lock(); defer h.mu.Unlock(); return len(h.conns) }

// Opens is how often a client asked where to connect.
func (h *hub) Opens() int { h.mu.Lock(); defer h.mu.Unlock(); return h.opens }

// Dials is how often a client connected.
func (h *hub) Dials() int { h.mu.Lock(); defer h.mu.Unlock(); return h.dials }

// Mute lets the server say nothing more, not even a pong, and take new
// connections all the same; Mute(false) ends it for connections made afterwards.
func (h *hub) Mute(on bool) { h.change(func() { h.muted = on }) }

// Drop cuts all connections without a word.
func (h *hub) Drop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.conns {
		_ = c.ws.NetConn().Close() // it is to break
	}
}

// ticket is taken by one connection, once and in time.
func (h *hub) take(ticket string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	until, ok := h.tickets[ticket]
	delete(h.tickets, ticket)
	return ok && time.Now().Before(until)
}

// serve upgrades a request and reads until the connection ends. Frames go to read.
func (h *hub) serve(w http.ResponseWriter, r *http.Request, read func(c *conn, raw []byte)) {
	up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return // answered
	}
	c := &conn{ws: ws, acks: map[string]chan Ack{}, ended: make(chan struct{})}
	ws.SetPingHandler(func(data string) error {
		h.change(func() { h.pings++ })
		if h.silent() {
			return nil
		}
		return ws.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(time.Second))
	})
	h.change(func() { h.conns = append(h.conns, c); h.dials++ })
	for {
		_, raw, err := ws.ReadMessage()
		if err != nil {
			break
		}
		if !h.silent() {
			read(c, raw)
		}
	}
	close(c.ended)
	_ = ws.Close()
	h.change(func() { h.conns = slices.DeleteFunc(h.conns, func(o *conn) bool { return o == c }) })
}

func (h *hub) silent() bool { h.mu.Lock(); defer h.mu.Unlock(); return h.muted }

// pick gives the newest connection.
func (h *hub) pick(ctx context.Context) (*conn, error) {
	var c *conn
	err := h.wait(ctx, func() bool {
		if n := len(h.conns); n > 0 {
			c = h.conns[n-1]
		}
		return c != nil
	})
	return c, err
}

// push writes frames to c and waits for the answer to id.
func (c *conn) push(ctx context.Context, kind int, id string, frames ...[]byte) (Ack, error) {
	acked := make(chan Ack, 1)
	c.mu.Lock()
	c.acks[id] = acked
	c.mu.Unlock()
	for _, f := range frames {
		if err := c.write(kind, f); err != nil {
			return Ack{}, errors.Join(ErrNoAck, err)
		}
	}
	select {
	case a := <-acked:
		return a, nil
	case <-c.ended:
		select {
		case a := <-acked:
			return a, nil
		default:
			return Ack{}, ErrNoAck
		}
	case <-ctx.Done():
		return Ack{}, ctx.Err()
	}
}

func (c *conn) acked(id string, a Ack) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch := c.acks[id]; ch != nil {
		delete(c.acks, id)
		ch <- a
	}
}

func (c *conn) write(kind int, b []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.ws.WriteMessage(kind, b)
}
