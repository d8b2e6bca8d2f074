package ingress

import (
	"context"
	"time"

	"moltbot/contracts"
)

// reader is a client that reads an answer while it is made. An error of either
// method ends the following: the client is gone.
type reader interface {
	// piece shows the next piece.
	piece(p piece) error
	// alive is called when nothing was shown for a while.
	alive() error
}

// follow shows a message's answer to a client while it is made, and gives its
// result once all of it was shown. The waiter is one of replies.follow. It gives
// nil where there is no result when patience ends, or this process stops; an
// error means that the client is gone.
//
// Pieces are a promise to nobody: whatever gets lost of them, the result has it.
func (in *Ingress) follow(ctx context.Context, id *contracts.ID, w *waiter, how wait, to reader) (*contracts.Result, error) {
	if how.patience <= 0 {
		return nil, nil
	}
	t := in.newFollowTimers(id, w, how)
	defer t.stop()
	for {
		select {
		case <-w.shown.news:
			if p, ok := w.shown.take(); ok {
				if err := in.show(to, p); err != nil {
					return nil, err
				}
				t.alive.Reset(in.o.KeepAlive)
			}
		case reply := <-w.result:
			if r := in.open(ctx, id, reply); r != nil {
				return r, in.showRest(to, w.shown, r)
			}
		case <-t.look.C:
			if r := in.look(ctx, id); r != nil {
				return r, in.showRest(to, w.shown, r)
			}
			if w.shown.quiet() {
				in.replies.attachDeltas(id)
			}
			t.lookLater()
		case <-t.alive.C:
			if err := to.alive(); err != nil {
				return nil, err
			}
		case <-in.draining:
			return nil, nil
		case <-t.over.C:
			return in.lastShow(ctx, id, w, to)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// followTimers are what wakes a follower that hears nothing.
type followTimers struct {
	over  *time.Timer
	look  *time.Timer // at the parked result
	alive *time.Ticker
	every time.Duration // between looks
}

// newFollowTimers asks for what is there already, unless the message was stored
// just now: then whoever runs it knows of us.
func (in *Ingress) newFollowTimers(id *contracts.ID, w *waiter, how wait) *followTimers {
	every := firstLookOwner
	if how.late {
		every = firstLookLate
		in.replies.attachDeltas(id)
	}
	return &followTimers{
		over: time.NewTimer(how.patience), look: time.NewTimer(every), alive: time.NewTicker(in.o.KeepAlive), every: every,
	}
}

func (t *followTimers) lookLater() {
	t.every = min(2*t.every, longestLook)
	t.look.Reset(t.every)
}

func (t *followTimers) stop() {
	t.over.Stop()
	t.look.Stop()
	t.alive.Stop()
}

func (in *Ingress) lastShow(ctx context.Context, id *contracts.ID, w *waiter, to reader) (*contracts.Result, error) {
	r := in.lastLook(ctx, id, w)
	if r == nil {
		return nil, nil
	}
	return r, in.showRest(to, w.shown, r)
}

// showRest shows what of the result was not shown yet.
func (in *Ingress) showRest(to reader, s *shown, r *contracts.Result) error {
	if r.Code != "" {
		return nil
	}
	p, ok := s.rest(r)
	if !ok {
		return nil
	}
	return in.show(to, p)
}

func (in *Ingress) show(to reader, p piece) error {
	if p.Reset {
		in.metrics.resets.Inc()
	}
	return to.piece(p)
}
