package workers

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

// fetching waits until a fetch of the pool is out.
func (p *plant) fetching() {
	p.t.Helper()
	workerstest.Eventually(p.t, "a fetch is out", func() bool {
		c, err := p.consumer(context.Background())
		return err == nil && c.CachedInfo().NumWaiting > 0
	})
}

// A fetch is out for eight when the pool shrinks to one: what it still brings
// beyond one is not run here, and another process gets it at once.
func TestPoolShrinksUnderAFetch(t *testing.T) {
	p := newPlant(t)
	entered, open := make(chan struct{}, 8), make(chan struct{})
	pl := p.pool(8, func(take, work context.Context, d jetstream.Msg) (mailbox.Handled, error) {
		entered <- struct{}{}
		<-open
		return acked(take, work, d)
	})
	p.run(pl)
	p.fetching()
	pl.resize(1)
	p.publishMany(8)
	workerstest.Await(t, "one runs", entered)
	c, err := p.consumer(t.Context())
	must(t, err)
	began, got := time.Now(), 0
	workerstest.Eventually(t, "seven come to another process", func() bool {
		b, err := c.Fetch(7-got, jetstream.FetchMaxWait(100*time.Millisecond))
		if err != nil {
			return false
		}
		for d := range b.Messages() {
			must(t, d.Ack())
			got++
		}
		return got == 7
	})
	if took := time.Since(began); took > 5*time.Second { // the ack wait is 30 s
		t.Errorf("they were held back for %s", took)
	}
	if n := pl.busy.Load(); n != 1 || len(entered) != 0 {
		t.Errorf("%d run in a pool of one", n)
	}
	close(open)
	workerstest.Eventually(t, "all are settled", p.settled)
}

// What is given back while nobody else is there comes when there are slots again.
func TestPoolPausedUnderAFetch(t *testing.T) {
	p := newPlant(t)
	pl := p.pool(8, acked)
	p.run(pl)
	p.fetching()
	pl.resize(0)
	p.publishMany(5)
	workerstest.Eventually(t, "the fetch ended", func() bool {
		pl.gate.mu.Lock()
		defer pl.gate.mu.Unlock()
		return pl.gate.used == 0
	})
	if p.settled() {
		t.Error("a paused pool works")
	}
	pl.resize(8)
	workerstest.Eventually(t, "all are settled", p.settled)
}

// A slot may go on with its conversation for as long as that has messages. A
// shrink ends this, and a growth does not.
func TestShrinkEndsLongStays(t *testing.T) {
	p := newPlant(t)
	var left atomic.Int32
	entered := make(chan struct{}, 8)
	pl := p.pool(4, func(take, work context.Context, d jetstream.Msg) (mailbox.Handled, error) {
		entered <- struct{}{}
		<-take.Done()
		left.Add(1)
		if work.Err() != nil {
			t.Error("a shrink cuts what runs")
		}
		return acked(take, work, d)
	})
	p.publishMany(4)
	stop, done := p.run(pl)
	for range 4 {
		workerstest.Await(t, "four run", entered)
	}
	pl.resize(6)
	if n := left.Load(); n != 0 {
		t.Errorf("%d left because the pool grew", n)
	}
	pl.resize(2)
	workerstest.Eventually(t, "all are settled", p.settled)
	// Those that begin now stay again.
	p.publishMany(6)
	workerstest.Await(t, "the fifth runs", entered)
	workerstest.Await(t, "the sixth runs", entered)
	if n := left.Load(); n != 4 {
		t.Errorf("%d left", n)
	}
	stop()
	must(t, workerstest.Await(t, "ends", done))
}
