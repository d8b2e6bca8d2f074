package workers

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
)

// errUnread is the cause a run ends with when nobody can read its answer.
var errUnread = errors.New("nobody can read the answer any more")

// listenCancel takes word that nobody can read a message's answer any more, or that
// a user stops what runs, until the subscription is drained.
func (r *replies) listenCancel() (*nats.Subscription, error) {
	return r.conn.Subscribe(contracts.SubjectsCancel, func(m *nats.Msg) {
		c, err := contracts.DecodeCancel(m.Data)
		if err != nil {
			r.log.Debug().Err(err).Msg("cancel request ignored")
			return
		}
		if id, err := contracts.ParseID(c.ID); c.Before > 0 && err == nil {
			r.stops(id.Conversation, c.Before, c.Life)
			return
		}
		r.cancel(c.ID)
	})
}

// stop tells all workers of the command id, which has the sequence before.
func (r *replies) stop(id string, before uint64, life int64) {
	parsed, err := contracts.ParseID(id)
	if err == nil {
		err = r.conn.Publish(contracts.SubjectCancel(parsed.Conversation), contracts.EncodeStop(parsed, before, life))
	}
	if err != nil {
		r.log.Debug().Err(err).Str("message_id", id).Msg("stop not sent, it is found a beat later")
	}
}

// cancel ends the run of id, if it is here. A message that is not run yet is
// none of ours: whoever cancels it does that in the store.
func (r *replies) cancel(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if run := r.runs[id]; run != nil && run.cancel != nil {
		run.cancel(errUnread)
	}
}

// judged is the verdict on a run that may have been cancelled, or that failed
// after some of its answer was shown where that cannot be taken back. The
// context is the run's own.
func judged(ctx context.Context, m *contracts.Message, p *pieces, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(context.Cause(ctx), mailbox.ErrStopped):
		return &contracts.Error{Code: contracts.CodeStopped, Message: "stopped by the user", Err: &cutShort{p.said(), err}}
	case errors.Is(context.Cause(ctx), errUnread):
		return &contracts.Error{Code: contracts.CodeStopped, Message: "stopped, because its client left", Err: err}
	case ctx.Err() != nil, !m.Flags.Has(contracts.FlagShown), !p.wasShown():
		return err
	}
	broken := &contracts.Error{Code: contracts.CodeModelAnswer, Message: "the answer broke off", Err: err}
	var e *contracts.Error
	if errors.As(err, &e) {
		broken.Code, broken.Message = e.Code, e.Message
	}
	return broken
}
