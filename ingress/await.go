package ingress

import (
	"context"
	"time"

	"moltbot/contracts"
)

// Waits between looks at the parked result. They double. Somebody who came
// after the message was stored looks soon, because the reply may have gone out
// before; whoever stored it gets the reply itself and looks only for safety.
const (
	firstLookLate  = 50 * time.Millisecond
	firstLookOwner = time.Second
	longestLook    = 5 * time.Second
)

// await waits for a message's result: for the worker's reply, and for the
// parked result in case the reply got lost (the worker died between commit and
// reply, the broker restarted). late says that others may have waited before.
func (in *Ingress) await(ctx context.Context, id contracts.ID, w *waiter, patience time.Duration, late bool) (contracts.Result, bool, error) {
	if patience <= 0 {
		return contracts.Result{}, false, nil
	}
	over := time.NewTimer(patience)
	defer over.Stop()
	every := firstLookOwner
	if late {
		every = firstLookLate
		in.replies.attach(id)
	}
	look := time.NewTimer(every)
	defer look.Stop()
	for {
		select {
		case reply := <-w.result:
			if r, ok := in.open(ctx, id, reply); ok {
				return r, true, nil
			}
		case <-look.C:
			r, found, _, err := in.o.Store.Result(ctx, id)
			if found {
				return r, true, nil
			}
			if err != nil {
				in.o.Log.Debug().Err(err).Str("message_id", w.id).Msg("parked result not read")
			}
			if late {
				in.replies.attach(id)
			}
			every = min(2*every, longestLook)
			look.Reset(every)
		case <-in.draining:
			return contracts.Result{}, false, nil
		case <-over.C:
			return in.lastLook(ctx, id, w)
		case <-ctx.Done():
			// The client is gone; the message is stored and is answered all the same.
			return contracts.Result{}, false, nil
		}
	}
}

// lastLook takes a reply that came in the same moment as the end of patience.
func (in *Ingress) lastLook(ctx context.Context, id contracts.ID, w *waiter) (contracts.Result, bool, error) {
	select {
	case reply := <-w.result:
		r, ok := in.open(ctx, id, reply)
		return r, ok, nil
	default:
		return contracts.Result{}, false, nil
	}
}

// open gives the result that a reply carries or points to.
func (in *Ingress) open(ctx context.Context, id contracts.ID, reply contracts.Reply) (contracts.Result, bool) {
	if len(reply.Data) > 0 {
		r, err := in.o.Opener.OpenReply(id, reply.Data)
		if err == nil {
			return r, true
		}
		in.o.Log.Warn().Err(err).Str("message_id", reply.ID).Msg("reply that does not open, looking for the parked result")
	}
	r, found, _, err := in.o.Store.Result(ctx, id)
	return r, found && err == nil
}
