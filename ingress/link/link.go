// Package link keeps a WebSocket to a platform: it connects, watches for
// silence, connects again, and answers a frame once its event is stored. It
// knows no platform and stores nothing itself.
package link

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/rs/zerolog"

	"moltbot/ingress/im"
)

// Platform says where to connect.
type Platform interface {
	// Locate asks for an address that is good for one connection, and gives what
	// reads what comes over it.
	Locate(ctx context.Context) (address string, w Wire, err error)
}

// Wire speaks a platform's language over one connection.
type Wire interface {
	// Read reads one frame. It is called by one goroutine.
	Read(raw []byte) (Frame, error)
	// Ping gives a sign of life, and the wait until the next.
	Ping() (kind int, data []byte, next time.Duration)
}

// Frame is what came over a connection.
type Frame struct {
	// Event is stored before the frame is answered; nil: there is nothing to store.
	Event *im.Event
	// Answer gives what tells the platform how storing went; nil: it is not told.
	Answer func(err error) []byte
	// Leave says that the platform will close this connection soon.
	Leave bool
}

// Options of a Link. What has no default is required.
type Options struct {
	Platform Platform
	Kind     int  // of frames: websocket.TextMessage or BinaryMessage
	Plain    bool // ws:// is good, too; otherwise only wss://
	Log      zerolog.Logger

	// Pings is how many pings may pass without any sign of the platform before the
	// connection is given up. Default 2.
	Pings int
	// Slack is given to the last ping's answer. Default 5s.
	Slack   time.Duration
	Connect time.Duration // longest time to connect; default 10s
	Write   time.Duration // and to write a frame; default 10s
	// Store is how long one event may take to be stored. Feishu waits 3 s for an
	// answer (facts). Default 2500ms.
	Store time.Duration
	// Drain is how long what came in may take to be stored when the connection
	// ends. Default 5s.
	Drain time.Duration
	// Grace is how long a connection is read that the platform will close.
	// Default 10s, as DingTalk says.
	Grace    time.Duration
	WaitMin  time.Duration // before the second try to connect; doubles; default 1s
	WaitMax  time.Duration // default 1m
	MaxFrame int64         // bytes; default 1 MiB
}

// Link is a long connection that is made again and again.
type Link struct {
	o     Options
	state atomic.Value // string
	stats struct{ connects, refused atomic.Int64 }
}

// Stats counts since the start.
type Stats struct {
	Connects int64 // connections that came about
	Refused  int64 // frames that could not be read
}

// New fills in the defaults of o.
func New(o Options) *Link {
	for _, d := range []struct {
		d    *time.Duration
		want time.Duration
	}{
		{&o.Slack, 5 * time.Second}, {&o.Connect, 10 * time.Second}, {&o.Write, 10 * time.Second}, {&o.Store, 2500 * time.Millisecond},
		{&o.Drain, 5 * time.Second}, {&o.Grace, 10 * time.Second}, {&o.WaitMin, time.Second}, {&o.WaitMax, time.Minute},
	} {
		if *d.d == 0 {
			*d.d = d.want
		}
	}
	if o.MaxFrame == 0 {
		o.MaxFrame = 1 << 20
	}
	if o.Pings == 0 {
		o.Pings = 2
	}
	l := &Link{o: o}
	l.state.Store("disconnected")
	return l
}

// State is a word for /readyz: connected, or why not. It holds nothing of the
// platform's own texts.
func (l *Link) State() string { return l.state.Load().(string) }

// Stats gives the counts.
func (l *Link) Stats() Stats {
	return Stats{Connects: l.stats.connects.Load(), Refused: l.stats.refused.Load()}
}

// Run connects and receives until ctx ends. No error is one that no new try can
// mend: credentials are mended at the platform, too.
func (l *Link) Run(ctx context.Context, take im.Take) error {
	defer l.state.Store("disconnected")
	var leaving sync.WaitGroup
	defer leaving.Wait()
	wait := l.o.WaitMin
	for ctx.Err() == nil {
		began := time.Now()
		err := l.once(ctx, take, &leaving)
		if ctx.Err() != nil {
			return nil
		}
		l.state.Store(reason(err))
		if err == nil { // asked to leave
			wait = l.o.WaitMin
			l.o.Log.Info().Msg("the platform asked to connect anew")
			pause(ctx, rand.N(l.o.WaitMin/4+1)) // so that a platform that always asks is not stormed
			continue
		}
		if time.Since(began) > l.o.WaitMax {
			wait = l.o.WaitMin
		}
		if refused := new(Refused); errors.As(err, &refused) {
			wait = l.o.WaitMax
		}
		l.o.Log.Warn().Err(err).Msg("no connection to the platform")
		pause(ctx, wait/2+rand.N(wait/2+1))
		wait = min(2*wait, l.o.WaitMax)
	}
	return nil
}

// once connects and receives until the connection ends, or the platform asks to
// make a new one; then it gives nil, and the old one is read on until it ends.
func (l *Link) once(ctx context.Context, take im.Take, leaving *sync.WaitGroup) error {
	s, err := l.connect(ctx, take)
	if err != nil {
		return err
	}
	l.stats.connects.Add(1)
	l.state.Store(im.Connected)
	l.o.Log.Info().Msg("connected to the platform")
	s.start()
	select {
	case <-s.leave:
		leaving.Go(func() { s.leaveBy(ctx) })
		return nil
	case <-s.ended:
	case <-ctx.Done():
	}
	return s.finish()
}

func (l *Link) connect(ctx context.Context, take im.Take) (*session, error) {
	dialling, cancel := context.WithTimeout(ctx, l.o.Connect)
	defer cancel()
	address, wire, err := l.o.Platform.Locate(dialling)
	if err != nil {
		return nil, fmt.Errorf("ask where to connect: %w", err)
	}
	// The address holds a ticket, so that no error may quote it.
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "wss" && (!l.o.Plain || u.Scheme != "ws") {
		return nil, errors.New("the platform gave an address that is none of wss")
	}
	dialer := websocket.Dialer{HandshakeTimeout: l.o.Connect} // no proxy: none is configured
	conn, resp, err := dialer.DialContext(dialling, address, nil)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", u.Host, handshake(resp, err))
	}
	conn.SetReadLimit(l.o.MaxFrame)
	return newSession(&l.o, &l.stats.refused, conn, wire, context.WithoutCancel(ctx), take), nil
}

// handshake is why a platform did not take a connection. Feishu says it in
// headers of its own (facts).
func handshake(resp *http.Response, err error) error {
	if resp == nil {
		return err
	}
	_ = resp.Body.Close() // nothing of it is read
	code, bad := strconv.Atoi(resp.Header.Get("Handshake-Status"))
	if bad != nil {
		code = resp.StatusCode
	}
	return fmt.Errorf("the handshake was answered %d", code)
}

// Refused says that the platform does not take the credentials.
type Refused struct{ Code int }

// Error says so with the platform's number.
func (r *Refused) Error() string {
	return fmt.Sprintf("the platform refused the credentials (%d)", r.Code)
}

// reason is the part of an error that /readyz may show.
func reason(err error) string {
	refused := new(Refused)
	switch {
	case err == nil:
		return "connecting"
	case errors.As(err, &refused):
		return "disconnected: " + refused.Error()
	case errors.Is(err, errSilent):
		return "disconnected: " + errSilent.Error()
	case errors.Is(err, errClosed):
		return "disconnected: " + errClosed.Error()
	default:
		return "disconnected: the platform cannot be reached"
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
