package ingress

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Limits of one batch. The broker takes 1000 messages; more than these gain
// nothing, and a batch that fails is published again one by one.
const (
	maxBatch      = 256
	maxBatchBytes = 4 << 20
)

// group stores messages in groups: what waits at the same moment becomes one
// atomic batch, which costs the disk as much as one message does. A message
// that finds nobody waiting is stored at once; there is no added wait.
//
// There is no goroutine of its own. Whoever comes first leads: it stores its own
// batch, and hands the lead to the first of those who came meanwhile.
type group struct {
	// one stores a single message; many stores all or nothing.
	one  func(ctx context.Context, e *entry) (known bool, err error)
	many func(ctx context.Context, es []*entry) error
	// hopeless reports an error that the next message would meet as well.
	hopeless func(error) bool
	timeout  time.Duration // for a batch and, when it fails, its messages one by one
	// batched is told of each batch; nil: nobody wants to know.
	batched func(messages int, split bool)

	mu      sync.Mutex
	led     bool
	waiting []*entry
}

// entry is one message on its way into the stream.
type entry struct {
	id, subject  string
	conversation string
	data         []byte
	trace        nats.Header // where the message came from; may be nil

	lead  chan struct{} // closed: this entry's caller leads now
	done  chan struct{} // closed: known and err are set
	known bool
	seq   uint64 // of a message that was published by itself
	err   error
}

// store returns once e is in the stream, or is not.
func (g *group) store(ctx context.Context, e *entry) (known bool, err error) {
	e.lead, e.done = make(chan struct{}), make(chan struct{})
	g.mu.Lock()
	g.waiting = append(g.waiting, e)
	if !g.led {
		g.led = true
		close(e.lead)
	}
	g.mu.Unlock()
	select {
	case <-e.done:
		return e.known, e.err
	case <-e.lead:
		g.run(ctx)
		return e.known, e.err
	case <-ctx.Done():
		if g.leave(e) {
			return false, ctx.Err()
		}
	}
	// It is under way, or its caller was made the leader this moment.
	select {
	case <-e.done:
	case <-e.lead:
		g.run(ctx)
	}
	return e.known, e.err
}

// leave takes e back unless it is under way or leads.
func (g *group) leave(e *entry) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-e.lead:
		return false
	default:
	}
	for i, w := range g.waiting {
		if w == e {
			g.waiting = append(g.waiting[:i:i], g.waiting[i+1:]...)
			return true
		}
	}
	return false
}

// run stores one batch, which begins with the leader's own message because the
// lead goes to the first in line, and hands the lead on.
func (g *group) run(ctx context.Context) {
	g.mu.Lock()
	batch := g.cut()
	g.mu.Unlock()
	// The others' messages must not depend on the leader's patience.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.timeout)
	defer cancel()
	g.commit(ctx, batch)
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.led = false
		return
	}
	close(g.waiting[0].lead)
}

// cut takes the next batch off the line, in the order in which they came.
func (g *group) cut() []*entry {
	n, size := 0, 0
	for n < len(g.waiting) && n < maxBatch {
		size += len(g.waiting[n].data)
		if n > 0 && size > maxBatchBytes {
			break
		}
		n++
	}
	batch := g.waiting[:n:n]
	g.waiting = g.waiting[n:]
	if len(g.waiting) == 0 {
		g.waiting = nil // the array goes with the batch
	}
	return batch
}

// commit stores the batch. When that fails, for whatever reason, nothing is
// known of its messages: each is stored by itself, in order. One that is in the
// stream after all is recognized by its id.
func (g *group) commit(ctx context.Context, batch []*entry) {
	whole := len(batch) > 1 && g.whole(ctx, batch)
	if g.batched != nil {
		g.batched(len(batch), len(batch) > 1 && !whole)
	}
	if whole {
		for _, e := range batch {
			close(e.done)
		}
		return
	}
	var lost error
	for _, e := range batch {
		if lost == nil {
			e.known, e.err = g.one(ctx, e)
			if e.err != nil && (ctx.Err() != nil || g.hopeless(e.err)) {
				lost = e.err
			}
		} else {
			e.err = lost
		}
		close(e.done)
	}
}

// whole gives the batch half of the time, so that the fall-back has the rest.
func (g *group) whole(ctx context.Context, batch []*entry) bool {
	ctx, cancel := context.WithTimeout(ctx, g.timeout/2)
	defer cancel()
	return g.many(ctx, batch) == nil
}
