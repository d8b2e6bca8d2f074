package workers

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

// settle is a settler made of a function.
type settle func(take, work context.Context, d jetstream.Msg) (mailbox.Handled, error)

func (f settle) Handle(take, work context.Context, d jetstream.Msg) (mailbox.Handled, error) {
	return f(take, work, d)
}

func (settle) Note(jetstream.Msg) {}

// pool gives a pool of p's consumer; run starts it and gives a way to end it.
func (p *plant) pool(slots int, s settle) *pool {
	return &pool{
		gate: newGate(slots), settler: s, consumer: p.consumer, healthy: func(context.Context) error { return nil },
		softStop: 10 * time.Second, log: zerolog.Nop(),
	}
}

func (p *plant) run(pl *pool) (stop context.CancelFunc, done chan error) {
	ctx, cancel := context.WithCancel(context.Background())
	done = make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		done <- pl.run(ctx)
		close(ended)
	}()
	p.t.Cleanup(func() { cancel(); <-ended })
	return cancel, done
}

func acked(_, _ context.Context, d jetstream.Msg) (mailbox.Handled, error) {
	return mailbox.HandledDone, d.Ack()
}

func (p *plant) settled() bool {
	return workerstest.Settled(p.t, p.js, contracts.StreamChat, contracts.ConsumerChat)
}

func (p *plant) publishMany(n int) {
	for i := range n {
		p.publish(p.message("s", i, "text", ""))
	}
}

func TestPoolObeysItsSlots(t *testing.T) {
	p := newPlant(t)
	var now, most atomic.Int32
	entered, open := make(chan struct{}, 100), make(chan struct{})
	pl := p.pool(4, func(take, work context.Context, d jetstream.Msg) (mailbox.Handled, error) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		entered <- struct{}{}
		<-open
		return acked(take, work, d)
	})
	p.publishMany(40)
	p.run(pl)
	for range 4 {
		workerstest.Await(t, "four run", entered)
	}
	if n := pl.busy.Load(); n != 4 {
		t.Errorf("%d are said to run", n)
	}
	pl.gate.setLimit(12)
	for range 8 {
		workerstest.Await(t, "twelve run", entered)
	}
	pl.gate.setLimit(2)
	if n := most.Load(); n != 12 {
		t.Errorf("%d ran at once", n)
	}
	close(open)
	workerstest.Eventually(t, "all are settled", p.settled)
	workerstest.Eventually(t, "none runs", func() bool { return pl.busy.Load() == 0 })
}

func TestPoolPausedFetchesNothing(t *testing.T) {
	p := newPlant(t)
	var handled atomic.Int32
	pl := p.pool(0, func(take, work context.Context, d jetstream.Msg) (mailbox.Handled, error) {
		handled.Add(1)
		return acked(take, work, d)
	})
	p.publishMany(3)
	stop, done := p.run(pl)
	c, err := p.consumer(t.Context())
	must(t, err)
	if i := c.CachedInfo(); i.NumWaiting != 0 || handled.Load() != 0 {
		t.Errorf("%d fetches wait, %d handled", i.NumWaiting, handled.Load())
	}
	pl.gate.setLimit(1)
	workerstest.Eventually(t, "goes on after the pause", p.settled)
	stop()
	must(t, workerstest.Await(t, "ends", done))
}

// What a fetch still brings after the stop is given back at once, and what runs
// is finished.
func TestPoolStops(t *testing.T) {
	p := newPlant(t)
	entered, open := make(chan struct{}), make(chan struct{})
	var handled atomic.Int32
	pl := p.pool(8, func(take, work context.Context, d jetstream.Msg) (mailbox.Handled, error) {
		if handled.Add(1) == 1 {
			close(entered)
			<-open
			if work.Err() != nil {
				t.Error("work ended with the fetching")
			}
		}
		return acked(take, work, d)
	})
	stop, done := p.run(pl)
	p.publishMany(1)
	workerstest.Await(t, "one runs", entered)
	workerstest.Eventually(t, "a fetch is out", func() bool {
		c, err := p.consumer(t.Context())
		return err == nil && c.CachedInfo().NumWaiting > 0
	})
	stop()
	p.publish(p.message("late", 1, "text", ""))
	c, err := p.consumer(t.Context())
	must(t, err)
	// The fetch takes it and gives it back; the other consumer gets it long before the ack wait of 30 s.
	var late jetstream.Msg
	workerstest.Eventually(t, "the late one comes here", func() bool {
		b, err := c.Fetch(1, jetstream.FetchMaxWait(100*time.Millisecond))
		if err != nil {
			return false
		}
		for d := range b.Messages() {
			late = d
		}
		return late != nil
	})
	close(open)
	must(t, workerstest.Await(t, "ends", done))
	if n := handled.Load(); n != 1 {
		t.Errorf("%d handled", n)
	}
	must(t, late.Ack())
}

// Work ends when the time to finish is over.
func TestPoolSoftStopHasAnEnd(t *testing.T) {
	p := newPlant(t)
	entered := make(chan struct{})
	pl := p.pool(1, func(_, work context.Context, _ jetstream.Msg) (mailbox.Handled, error) {
		close(entered)
		<-work.Done()
		return mailbox.HandledGiven, work.Err()
	})
	pl.softStop = 50 * time.Millisecond
	p.publishMany(1)
	stop, done := p.run(pl)
	workerstest.Await(t, "one runs", entered)
	stop()
	must(t, workerstest.Await(t, "ends", done))
}

// While a dependency is down nothing is fetched.
func TestPoolPausesWhileUnhealthy(t *testing.T) {
	p := newPlant(t)
	var healthy atomic.Bool
	var handled, looks atomic.Int32
	pl := p.pool(1, func(take, work context.Context, d jetstream.Msg) (mailbox.Handled, error) {
		if handled.Add(1) == 1 {
			return mailbox.HandledGiven, errors.Join(errors.New("store is down"), d.Nak())
		}
		if !healthy.Load() {
			t.Error("fetched while the store is down")
		}
		return acked(take, work, d)
	})
	pl.healthy = func(context.Context) error {
		looks.Add(1)
		if healthy.Load() {
			return nil
		}
		return errors.New("still down")
	}
	p.publishMany(1)
	p.run(pl)
	workerstest.Eventually(t, "it looks again", func() bool { return looks.Load() >= 3 })
	if n := handled.Load(); n != 1 {
		t.Errorf("%d handled", n)
	}
	healthy.Store(true)
	workerstest.Eventually(t, "goes on", p.settled)
}

// The consumer is deleted under a running pool: it is made again.
func TestPoolMakesTheConsumerAgain(t *testing.T) {
	p := newPlant(t)
	pl := p.pool(4, acked)
	p.run(pl)
	p.publishMany(1)
	workerstest.Eventually(t, "the first is settled", p.settled)
	must(t, p.js.DeleteConsumer(t.Context(), contracts.StreamChat, contracts.ConsumerChat))
	p.publish(p.message("after", 1, "text", ""))
	workerstest.Eventually(t, "settled by a new consumer", p.settled)
}
