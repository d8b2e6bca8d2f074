package mailbox

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

var errLeaseTaken = errors.New("somebody else took the lease")

// pulse keeps a holding alive: it beats to the stream and renews the lease, by
// a timer, so that short runs cost no goroutine.
type pulse struct {
	m      *Mailbox
	h      *holding
	every  time.Duration
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	stopped bool
	timer   *time.Timer
}

// keepAlive starts the pulse of h. The context it gives ends when work ends or
// when somebody else took the lease; a renewal that cannot reach Redis does not
// end it, because the commit will find out what became of the lease.
func (m *Mailbox) keepAlive(work context.Context, h *holding) (context.Context, func()) {
	p := &pulse{m: m, h: h, every: min(m.o.Lease/3, m.o.Beat)}
	p.ctx, p.cancel = context.WithCancelCause(work)
	p.mu.Lock()
	p.timer = time.AfterFunc(p.every, p.beat)
	p.mu.Unlock()
	return p.ctx, p.stop
}

// stop does not wait for a beat under way: a late renewal finds that the box
// names no holder any more, and a late beat finds the delivery settled.
func (p *pulse) stop() {
	p.mu.Lock()
	p.stopped = true
	p.timer.Stop()
	p.mu.Unlock()
	p.cancel(nil)
}

func (p *pulse) beat() {
	m, h := p.m, p.h
	if err := h.delivery.InProgress(); err != nil && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
		m.o.Log.Debug().Err(err).Str("conversation", h.conversation).Msg("beat not sent")
	}
	call, done := context.WithTimeout(p.ctx, m.o.CallTimeout)
	defer done()
	ours, stop, err := m.box.renew(call, h)
	if err == nil && !ours {
		p.cancel(errLeaseTaken)
	} else if stop > 0 {
		m.stops.found(h.conversation, stop+1, h.created)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopped {
		p.timer.Reset(p.every)
	}
}
