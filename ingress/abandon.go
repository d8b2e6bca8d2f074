package ingress

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"moltbot/contracts"
)

// Abandoner finishes a message that nobody can read the answer of. busy says
// that somebody runs it at the moment, and that nothing was done.
type Abandoner interface {
	Abandon(ctx context.Context, id contracts.ID) (busy bool, err error)
}

const (
	maxAbandoned  = 256 // at a time; beyond it a message is simply answered
	abandonTries  = 8
	firstAbandon  = 50 * time.Millisecond // wait before the second try; doubled each time
	abandonWithin = 2 * time.Second       // for one try
)

// abandoned sees to it that no model works for clients that left and cannot come
// back. It promises nothing: a message that cannot be stopped is answered.
type abandoned struct {
	store Abandoner // nil: nothing is abandoned
	conn  *nats.Conn
	log   zerolog.Logger

	mu      sync.Mutex
	count   int
	closed  bool
	closing chan struct{}
	all     sync.WaitGroup
}

func newAbandoned(o *Options) *abandoned {
	return &abandoned{store: o.Abandoner, conn: o.Conn, log: o.Log, closing: make(chan struct{})}
}

// abandon is for a request without an Idempotency-Key whose client left in the
// middle of an answer that cannot be fetched later. It returns at once.
func (in *Ingress) abandon(id contracts.ID) {
	a := in.abandoned
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.store == nil || a.closed || a.count == maxAbandoned {
		return
	}
	in.metrics.abandoned.Inc()
	a.count++
	a.all.Go(func() {
		a.insist(id)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.count--
	})
}

// insist tries until the message is finished: whoever runs it may not have
// listened yet, or it waits behind another one.
func (a *abandoned) insist(id contracts.ID) {
	wait := firstAbandon
	for range abandonTries {
		if a.try(id) {
			return
		}
		again := time.NewTimer(wait)
		select {
		case <-again.C:
		case <-a.closing:
			again.Stop()
			return
		}
		wait *= 2
	}
	a.log.Debug().Str("message_id", id.String()).Msg("message not stopped although its client left")
}

func (a *abandoned) try(id contracts.ID) (finished bool) {
	ctx, cancel := context.WithTimeout(context.Background(), abandonWithin)
	defer cancel()
	busy, err := a.store.Abandon(ctx, id)
	if err != nil {
		a.log.Debug().Err(err).Str("message_id", id.String()).Msg("message not abandoned")
		return false
	}
	if !busy {
		return true
	}
	if err := a.conn.Publish(contracts.SubjectCancel(id.Conversation), contracts.EncodeCancel(id)); err != nil {
		a.log.Debug().Err(err).Str("message_id", id.String()).Msg("cancel request not sent")
	}
	return false
}

// close waits for the tries that are under way; no further ones are made.
func (a *abandoned) close() {
	a.mu.Lock()
	if !a.closed {
		a.closed = true
		close(a.closing)
	}
	a.mu.Unlock()
	a.all.Wait()
}
