package mailbox

import (
	"context"
	"time"
)

// commitSurely commits as often as it takes: the run is paid for, and giving it
// up because Redis is away would make it run again. The beats go on meanwhile,
// so nobody else is given the message; if somebody took the conversation all the
// same, the fence tells.
func (m *Mailbox) commitSurely(work context.Context, h *holding, t Task, o *Outcome, stopped bool) (committed, error) {
	for told := false; ; told = true {
		c, err := m.commit(context.WithoutCancel(work), h, t, o, stopped)
		if err == nil || work.Err() != nil {
			return c, err
		}
		m.count(EventCommitAgain)
		if !told {
			m.o.Log.Warn().Err(err).Str("message_id", t.ID).Msg("answer not committed yet, trying on")
		}
		again := time.NewTimer(commitAgain)
		select {
		case <-work.Done():
		case <-again.C:
		}
		again.Stop()
	}
}

// commitAgain is the wait between two tries of a commit.
const commitAgain = 250 * time.Millisecond

// commit finishes the message. When the box vanished (Redis was emptied) it
// begins again and keeps the answer; when the user stopped the message in the
// meantime, the stop becomes its outcome.
func (m *Mailbox) commit(work context.Context, h *holding, t Task, o *Outcome, stopped bool) (committed, error) {
	for lost := false; ; {
		c, err := m.box.commit(work, h, t, *o, stopped || o.Unstopped)
		switch {
		case err != nil:
			return c, err
		case c.state == stateStopped:
			*o, stopped = m.undo(t, *o), true
		case c.state == stateLost && !lost:
			lost = true
			o.Memory = nil // of a context that may be gone as well
			if s, err := m.beginAgain(work, h, &t); s != stateGo || err != nil {
				return committed{state: s}, err
			}
		default:
			return c, nil
		}
	}
}

// undo is the outcome of a message that was stopped when o was made already.
func (m *Mailbox) undo(t Task, o Outcome) Outcome {
	t.Undone = &o
	stopped := m.fail(t, stopError(ErrStopped))
	stopped.Waiters = o.Waiters
	return stopped
}

// beginAgain makes the box again, after its loss, for the message that runs.
func (m *Mailbox) beginAgain(work context.Context, h *holding, t *Task) (state, error) {
	b, err := m.box.begin(work, wakeup{
		conversation: h.conversation, id: t.ID, seq: t.Sequence, created: h.created, token: h.token,
	})
	switch {
	case err != nil:
		return stateLost, err
	case b.state == stateBusy:
		return stateFenced, nil
	case b.state == stateGo:
		h.fence, t.Epoch = b.fence, b.epoch
		m.o.Log.Warn().Str("conversation", h.conversation).Msg("the conversation's record was lost in the store and begun again")
	}
	return b.state, nil
}
