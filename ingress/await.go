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

// wait says how to wait: for how long, and whether the message was stored before
// (late), so that others may have waited for it already.
type wait struct {
	patience time.Duration
	late     bool
}

// await waits for a message's result: for the worker's reply, and for the
// parked result in case the reply got lost (the worker died between commit and
// reply, the broker restarted). It gives nil where there is none yet.
func (in *Ingress) await(ctx context.Context, id *contracts.ID, w *waiter, how wait) *contracts.Result {
	if how.patience <= 0 {
		return nil
	}
	over := time.NewTimer(how.patience)
	defer over.Stop()
	every := firstLookOwner
	if how.late {
		every = firstLookLate
		in.replies.attach(*id)
	}
	look := time.NewTimer(every)
	defer look.Stop()
	for {
		select {
		case reply := <-w.result:
			if r := in.open(ctx, id, reply); r != nil {
				return r
			}
		case <-look.C:
			if r := in.look(ctx, id); r != nil {
				return r
			}
			if how.late {
				in.replies.attach(*id)
			}
			every = min(2*every, longestLook)
			look.Reset(every)
		case <-in.draining:
			return nil
		case <-over.C:
			return in.lastLook(ctx, id, w)
		case <-ctx.Done():
			// The client is gone; the message is stored and is answered all the same.
			return nil
		}
	}
}

// lastLook takes a reply that came in the same moment as the end of patience.
func (in *Ingress) lastLook(ctx context.Context, id *contracts.ID, w *waiter) *contracts.Result {
	select {
	case reply := <-w.result:
		return in.open(ctx, id, reply)
	default:
		return nil
	}
}

// look gives the parked result.
func (in *Ingress) look(ctx context.Context, id *contracts.ID) *contracts.Result {
	r, found, _, err := in.o.Store.Result(ctx, *id)
	if err != nil {
		in.o.Log.Debug().Err(err).Str("message_id", id.String()).Msg("parked result not read")
	}
	if err != nil || !found {
		return nil
	}
	return &r
}

// open gives the result that a reply carries or points to.
func (in *Ingress) open(ctx context.Context, id *contracts.ID, reply contracts.Reply) *contracts.Result {
	if len(reply.Data) > 0 {
		r, err := in.o.Opener.OpenReply(*id, reply.Data)
		if err == nil {
			return &r
		}
		in.o.Log.Warn().Err(err).Str("message_id", reply.ID).Msg("reply that does not open, looking for the parked result")
	}
	return in.look(ctx, id)
}
