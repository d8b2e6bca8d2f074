package openai_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"sync"
	"testing"
	"time"

	"moltbot/workers/model/openai"
	"moltbot/workers/model/upstream"
)

// switchboard is a provider that counts its connections and can hold its answers.
type switchboard struct {
	*httptest.Server
	mu       sync.Mutex
	cond     *sync.Cond
	opened   int
	closed   int
	answered int
	inside   int
	hold     chan struct{} // nil: answer at once
}

func newSwitchboard(t *testing.T) *switchboard {
	t.Helper()
	b := &switchboard{}
	b.cond = sync.NewCond(&b.mu)
	b.Server = httptest.NewUnstartedServer(http.HandlerFunc(b.serve))
	b.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		b.change(func() {
			switch s {
			case http.StateNew:
				b.opened++
			case http.StateClosed:
				b.closed++
			case http.StateIdle:
				b.answered++
			}
		})
	}
	b.Start()
	t.Cleanup(b.Close)
	return b
}

func (b *switchboard) serve(w http.ResponseWriter, _ *http.Request) {
	b.change(func() { b.inside++ })
	b.mu.Lock()
	hold := b.hold
	b.mu.Unlock()
	if hold != nil {
		<-hold
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprint(w, `{"choices":[{"message":{"content":"ok"},"finish_reason":"stop"}]}`)
}

func (b *switchboard) change(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	b.cond.Broadcast()
}

// until waits for what the connections' states bring about.
func (b *switchboard) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	late := time.AfterFunc(10*time.Second, b.cond.Broadcast)
	defer late.Stop()
	began := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for !ok() {
		if time.Since(began) > 9*time.Second {
			t.Fatalf("not in time: %s (%d opened, %d closed)", what, b.opened, b.closed)
		}
		b.cond.Wait()
	}
}

func (b *switchboard) count() (opened, closed int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.opened, b.closed
}

func ask(t *testing.T, c *upstream.Client) {
	t.Helper()
	if _, err := c.Complete(context.Background(), prompt("hi")); err != nil {
		t.Errorf("complete: %v", err)
	}
}

// inTurn asks n times, one after the other.
func inTurn(t *testing.T, b *switchboard, c *upstream.Client, n int) {
	t.Helper()
	for range n {
		b.mu.Lock()
		before := b.answered
		b.mu.Unlock()
		ask(t, c)
		b.until(t, "the connection is free", func() bool { return b.answered+b.closed > before })
	}
}

// crowd asks n times at once, and gives what lets the answers go.
func crowd(t *testing.T, b *switchboard, c *upstream.Client, n int) (release func()) {
	t.Helper()
	hold := make(chan struct{})
	b.change(func() { b.hold, b.inside = hold, 0 })
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() { ask(t, c) })
	}
	b.until(t, "all are asked at once", func() bool { return b.inside == n })
	return func() {
		b.change(func() { b.hold = nil })
		close(hold)
		wg.Wait()
	}
}

// KeepIdle bounds what is kept, not what is asked at the same time.
func TestKeepIdle(t *testing.T) {
	b := newSwitchboard(t)
	c := connect(t, openai.Options{Endpoint: b.URL, KeepIdle: 2})
	crowd(t, b, c, 5)()
	b.until(t, "three are closed", func() bool { return b.closed == 3 })
	crowd(t, b, c, 2)()
	if opened, closed := b.count(); opened != 5 || closed != 3 {
		t.Errorf("%d opened, %d closed, want the two that were kept used again", opened, closed)
	}
}

func TestIdleTimeout(t *testing.T) {
	b := newSwitchboard(t)
	c := connect(t, openai.Options{Endpoint: b.URL, IdleTimeout: 50 * time.Millisecond})
	inTurn(t, b, c, 1)
	b.until(t, "the unused connection is closed", func() bool { return b.closed == 1 })
}

func TestMaxLifetime(t *testing.T) {
	b := newSwitchboard(t)
	now := &tick{t: time.Now()}
	c := connect(t, openai.Options{Endpoint: b.URL, MaxLifetime: time.Hour, Now: now.now})
	inTurn(t, b, c, 3)
	now.move(time.Hour - 1)
	inTurn(t, b, c, 3)
	if opened, closed := b.count(); opened != 1 || closed != 0 {
		t.Fatalf("%d opened, %d closed within the lifetime", opened, closed)
	}
	now.move(1)
	inTurn(t, b, c, 3)
	b.until(t, "the old connection is closed", func() bool { return b.closed == 1 })
	if opened, _ := b.count(); opened != 2 {
		t.Errorf("%d opened", opened)
	}
	// A call that runs when its connection's time is up is not disturbed, and its
	// connection does not stay.
	release := crowd(t, b, c, 3)
	now.move(time.Hour)
	b.change(func() { b.hold = nil })
	inTurn(t, b, c, 1)
	release()
	b.until(t, "all of the old ones are closed", func() bool { return b.closed == b.opened-1 })
	before, _ := b.count()
	inTurn(t, b, c, 2)
	if opened, _ := b.count(); opened != before {
		t.Errorf("%d opened, the new one was there", opened-before)
	}
}

// A call that has chosen its transport just before that one's time is up keeps
// no connection alive either.
func TestMaxLifetimeOfALateCall(t *testing.T) {
	b := newSwitchboard(t)
	now := &tick{t: time.Now()}
	c := connect(t, openai.Options{Endpoint: b.URL, MaxLifetime: time.Hour, Now: now.now})
	late := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GetConn: func(string) {
		now.move(time.Hour)
		ask(t, c)
	}})
	if _, err := c.Complete(late, prompt("hi")); err != nil {
		t.Fatal(err)
	}
	b.until(t, "the late call's connection is closed", func() bool { return b.opened == 2 && b.closed == 1 })
}

func TestPoolOptionsAreChecked(t *testing.T) {
	for _, o := range []openai.Options{{KeepIdle: -1}, {IdleTimeout: -1}, {MaxLifetime: -1}} {
		o.Provider, o.Endpoint = "acme", "http://host"
		if _, err := openai.New(o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}

// tick is a clock that is moved by hand.
type tick struct {
	mu sync.Mutex
	t  time.Time
}

func (c *tick) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *tick) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}
