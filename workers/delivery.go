package workers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
	"moltbot/workers/deliver"
	"moltbot/workers/mailbox"
)

// Delivery says how answers go out. What has no default is required.
type Delivery struct {
	// Consumer finds the consumer of StreamSend, and makes it again where it is
	// missing. Default: no answers go out from here.
	Consumer func(context.Context) (jetstream.Consumer, error)
	Slots    int // answers at a time in this process; default 32
	// Mailbox holds the waits and limits of the mailbox; what connects it is set here.
	Mailbox     mailbox.Options
	MaxFinished uint64 // finished answers left in the stream; default 25000
	// Digest, Rate and RetryFor are those of deliver.Options.
	Digest   func(purpose string, parts ...string) string
	Rate     func(c contracts.Channel, app string) (all, chat int)
	RetryFor func(c contracts.Channel) time.Duration
}

// delivery sends what the turns committed: the mailbox over StreamSend with a pool
// of its own, so that slow platforms take no slot from models and the other way
// round. It runs without senders, too: what is left over in the stream of an
// application that is gone must not wait there for ever.
type delivery struct {
	pool     *pool
	janitor  *mailbox.Janitor
	consumer func(context.Context) (jetstream.Consumer, error)
}

// newDelivery gives nil where no answers go out.
func newDelivery(o *Options, outcomes *deliver.Metrics, healthy func(context.Context) error) (*delivery, error) {
	d := o.Delivery
	if d.Consumer == nil {
		return nil, nil
	}
	if d.Slots == 0 {
		d.Slots = 32
	}
	if d.MaxFinished == 0 {
		d.MaxFinished = 25000
	}
	if d.Slots < 0 {
		return nil, errors.New("workers options: Delivery.Slots must not be negative")
	}
	if crash := d.Mailbox.Crash; crash != nil { // in tests; the points of the two mailboxes have the same names
		d.Mailbox.Crash = func(point string) { crash("deliver " + point) }
	}
	courier, err := deliver.New(deliver.Options{
		Senders: o.Senders, Sealer: o.Sealer, Redis: o.Redis, Keys: contracts.SendKeys, Digest: d.Digest, Rate: d.Rate,
		MaxAge: o.MaxAge, RetryFor: d.RetryFor, KeepFor: d.Mailbox.DoneTTL, Metrics: outcomes, Log: o.Log, Crash: d.Mailbox.Crash,
	})
	if err != nil {
		return nil, err
	}
	janitor := mailbox.NewJanitor(mailbox.JanitorOptions{
		Conn: o.Conn, Redis: o.Redis, Log: o.Log, Node: o.Node, Stream: contracts.StreamSend,
		Consumer: contracts.ConsumerSend, Every: o.PurgeEvery, MaxFinished: d.MaxFinished,
	})
	counts := newDeliveryMetrics(o.Metrics)
	mo := sendOptions(o, d.Mailbox)
	mo.Runner, mo.Look, mo.Urge = courier, janitor.View, janitor.Urge
	mo.Watch = mailbox.Watch{Count: counts.count}
	if o.Traces != nil {
		mo.Watch.Tracer = o.Traces.Tracer(tracerName)
	}
	box, err := mailbox.New(o.Node, mo)
	if err != nil {
		return nil, fmt.Errorf("delivery: %w", err)
	}
	p := &pool{
		gate: newGate(d.Slots), settler: box, consumer: d.Consumer, healthy: healthy,
		softStop: o.SoftStop, log: o.Log, settled: counts.settled,
	}
	counts.pool(o.Metrics, p)
	return &delivery{pool: p, janitor: janitor, consumer: d.Consumer}, nil
}

// sendOptions are those of the mailbox over StreamSend. It has no context, makes
// no outbox, and its results are empty.
func sendOptions(o *Options, mo mailbox.Options) mailbox.Options {
	mo.Conn, mo.Redis, mo.Log, mo.Sealer, mo.Alone = o.Conn, o.Redis, o.Log, o.Sealer, o.Alone
	mo.Stream, mo.Role, mo.Keys = contracts.StreamSend, "deliver", contracts.SendKeys
	mo.Identify = deliver.Identify
	mo.Window, mo.Memory, mo.ResultTTL = 0, -1, time.Second
	base, most := mo.RetryBase, mo.RetryMax
	if base == 0 {
		base = time.Second
	}
	if most == 0 {
		most = time.Minute
	}
	mo.Backoff = func(failures int, cause error) (time.Duration, bool) {
		return sendBackoff(failures, cause, base, most), !deliver.Paced(cause)
	}
	return mo
}

// longestWait is the most that a platform's word can hold back an answer at a time.
const longestWait = time.Hour

// sendBackoff doubles from base to most, and waits as long as the receiver asked
// for. What it asked for is a least time: those who wait come spread behind it.
func sendBackoff(failures int, cause error, base, most time.Duration) time.Duration {
	d := base << min(max(failures-1, 0), 20)
	if d > most || d <= 0 {
		d = most
	}
	d = d*3/4 + rand.N(d/2+1)
	var e *contracts.Error
	known := errors.As(cause, &e)
	if known && deliver.Paced(cause) {
		return e.RetryAfter // spread already, and no failure
	}
	if known && e.RetryAfter > 0 {
		asked := min(e.RetryAfter, longestWait)
		d = max(d, asked+rand.N(asked/10+1))
	}
	return d
}

// start begins to send. What it gives drains: an answer that is being sent is
// finished, a further one is not begun.
func (d *delivery) start(ctx context.Context, await func(context.Context, *mailbox.Janitor, func(context.Context) (jetstream.Consumer, error))) (stop func()) {
	if d == nil {
		return func() {}
	}
	// Both pools have the same time, which begins when ctx ends.
	var ending atomic.Pointer[time.Time]
	unwatch := context.AfterFunc(ctx, func() { now := time.Now(); ending.Store(&now) })
	// The chat pool drains first, when ctx ends; until then this one goes on.
	take, drain := context.WithCancel(context.WithoutCancel(ctx))
	tidying, stopTidying := context.WithCancel(context.WithoutCancel(ctx))
	var all, tidy sync.WaitGroup
	all.Go(func() {
		await(take, d.janitor, d.consumer)             // before it runs: a janitor is used by one goroutine
		tidy.Go(func() { _ = d.janitor.Run(tidying) }) // it gives no error
		_ = d.pool.run(take)                           // neither does it
	})
	return func() {
		if whole := d.pool.softStop; !unwatch() {
			left := whole
			if at := ending.Load(); at != nil {
				left -= time.Since(*at)
			}
			d.pool.softStop = max(left, whole/10) // read when take ended; what was committed last may still be sent
		}
		drain()
		all.Wait()
		stopTidying()
		tidy.Wait()
	}
}

func (d *delivery) fetching() bool { return d == nil || d.pool.fetches.Load() }
