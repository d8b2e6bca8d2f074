package workers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"moltbot/workers/mailbox"
)

// settler settles one delivery: the mailbox.
type settler interface {
	// Note is told of each delivery as it comes.
	Note(d jetstream.Msg)
	Handle(take, work context.Context, d jetstream.Msg) (mailbox.Handled, error)
}

// pool pulls deliveries from one consumer into a changeable number of slots. A
// slot comes first and the fetch second, so that no delivery waits in a buffer
// while its ack wait runs.
type pool struct {
	gate     *gate
	settler  settler
	consumer func(context.Context) (jetstream.Consumer, error) // finds it, or makes it again
	healthy  func(context.Context) error                       // nil when fetching makes sense
	softStop time.Duration
	log      zerolog.Logger
	settled  func(mailbox.Handled) // counts; nil: nobody does

	crew    *crew
	busy    atomic.Int32 // deliveries in the settler's hands
	fetches atomic.Bool  // the last fetch was let through
	mu      sync.Mutex
	sick    bool            // a delivery met a dependency that is down
	take    context.Context // of run
	stay    stay            // of the deliveries that run
}

// stay is how long running deliveries may go on to the next message of their
// conversation. A pool that shrinks ends it and begins another, so that what
// runs is finished and no slot goes on with a long conversation.
type stay struct {
	ctx context.Context
	end context.CancelFunc
}

func newStay(take context.Context) stay {
	ctx, end := context.WithCancel(take)
	return stay{ctx, end}
}

// Waits of the pool.
const (
	giveBackDelay = 200 * time.Millisecond // of a delivery that came again and still finds no slot
	fetchWait     = time.Second            // an idle fetch ends after this, and shutdown waits for it
	retryFetch    = 250 * time.Millisecond // after a failed fetch or health check
	maxPerFetch   = 256
)

// run pulls until take ends. Then what is running gets softStop to finish; what
// has not finished by then is given back.
func (p *pool) run(take context.Context) error {
	work, stopWork := context.WithCancel(context.WithoutCancel(take))
	defer stopWork()
	p.mu.Lock()
	p.take, p.stay = take, newStay(take)
	p.mu.Unlock()
	p.crew = newCrew(p.settle)
	var c jetstream.Consumer
	for take.Err() == nil {
		var err error
		if c, err = p.fetch(take, work, c); err != nil && take.Err() == nil {
			p.fetches.Store(false)
			p.log.Warn().Err(err).Msg("fetching paused")
			c = nil // it may have been deleted
			pause(take, retryFetch)
		}
	}
	p.fetches.Store(false)
	giveUp := time.AfterFunc(p.softStop, stopWork)
	defer giveUp.Stop()
	p.crew.end()
	return nil
}

// resize changes the number of slots. What runs beyond them is finished, but its
// conversation is left to whoever has a slot.
func (p *pool) resize(n int) {
	over := p.gate.setLimit(n)
	p.mu.Lock()
	defer p.mu.Unlock()
	if over && p.stay.ctx != nil {
		p.stay.end()
		p.stay = newStay(p.take)
	}
}

func (p *pool) staying() context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stay.ctx
}

// backAfter is when a delivery that finds no slot is to come again: at once, for
// a process that has one, and then later, for it may have come to the same fetch.
func backAfter(d jetstream.Msg) time.Duration {
	if m, err := d.Metadata(); err == nil && m.NumDelivered > 1 {
		return giveBackDelay
	}
	return 0
}

// fetch takes free slots, pulls at most as many deliveries, and starts each. It
// waits for the slots first: what freed them may have met a dependency that is down.
func (p *pool) fetch(take, work context.Context, c jetstream.Consumer) (jetstream.Consumer, error) {
	slots := p.gate.acquire(take, maxPerFetch)
	if slots == 0 {
		return c, nil
	}
	started := 0
	defer func() { p.gate.release(slots - started) }()
	if err := p.recovered(take); err != nil {
		return c, err
	}
	if c == nil {
		var err error
		if c, err = p.consumer(take); err != nil {
			return nil, err
		}
	}
	batch, err := c.Fetch(slots, jetstream.FetchMaxWait(fetchWait))
	if err != nil {
		return c, fmt.Errorf("fetch: %w", err)
	}
	p.fetches.Store(true)
	for d := range batch.Messages() {
		p.settler.Note(d)
		stay := p.staying() // before fits: a shrink in between must end it
		if take.Err() != nil || !p.gate.fits(slots-started) {
			_ = d.NakWithDelay(backAfter(d)) // for another worker; if it gets lost, the ack wait brings it
			continue
		}
		started++
		p.crew.start(job{stay, work, d})
	}
	if err := batch.Error(); err != nil && !errors.Is(err, jetstream.ErrNoMessages) {
		return c, fmt.Errorf("fetch: %w", err)
	}
	return c, nil
}

func (p *pool) settle(take, work context.Context, d jetstream.Msg) {
	p.busy.Add(1)
	defer func() {
		p.busy.Add(-1)
		p.gate.release(1)
	}()
	handled, err := p.settler.Handle(take, work, d)
	if p.settled != nil {
		p.settled(handled)
	}
	if err == nil || work.Err() != nil {
		return
	}
	p.log.Warn().Err(err).Str("handled", string(handled)).Msg("delivery given back")
	p.mu.Lock()
	p.sick = true
	p.mu.Unlock()
}

// recovered lets nothing be fetched while a dependency is down: each delivery
// would only travel back and forth.
func (p *pool) recovered(ctx context.Context) error {
	p.mu.Lock()
	sick := p.sick
	p.mu.Unlock()
	if !sick {
		return nil
	}
	if err := p.healthy(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	p.sick = false
	p.mu.Unlock()
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
