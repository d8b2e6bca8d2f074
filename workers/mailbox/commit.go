package mailbox

import (
	"context"
	"time"

	"moltbot/contracts"
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
	c, err := m.box.commit(work, h, t, *o, stopped)
	if err == nil && c.state == stateStopped {
		*o = m.fail(t, &contracts.Error{Code: contracts.CodeStopped, Message: "stopped by the user"})
		c, err = m.box.commit(work, h, t, *o, true)
	}
	if err != nil || c.state != stateLost {
		return c, err
	}
	b, err := m.box.begin(work, wakeup{
		conversation: h.conversation, id: t.ID, seq: t.Sequence, created: h.created, token: h.token,
	})
	if err != nil {
		return c, err
	}
	switch b.state {
	case stateFinished:
		return committed{state: stateFinished}, nil
	case stateBusy:
		return committed{state: stateFenced}, nil
	}
	h.fence = b.fence
	t.Epoch = b.epoch
	m.o.Log.Warn().Str("conversation", h.conversation).Msg("the conversation's record was lost in the store and begun again")
	return m.box.commit(work, h, t, *o, stopped)
}
