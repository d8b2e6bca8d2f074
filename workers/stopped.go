package workers

import (
	"errors"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
)

// cutShort carries what was said of an answer before the user stopped it. Its
// text is content, so it is not part of the error's.
type cutShort struct {
	said string
	err  error
}

func (c *cutShort) Error() string { return "the answer was cut short: " + c.err.Error() }

func (c *cutShort) Unwrap() []error { return []error{mailbox.ErrStopped, c.err} }

// stoppedKept is how many messages of one stop become turns although nothing was
// said to them. No prompt has them, but they take places among the newest turns
// that prompts are made of: a queue that was stopped must not drive out the
// conversation. The window is larger by as many.
const stoppedKept = 4

// stopped completes the outcome of a message that the user stopped: it is
// counted for the answer of the command and becomes a stopped turn, with what was
// shown of its answer. Of an answer that nobody read along nothing was shown.
func (t *turn) stopped(task mailbox.Task, m *contracts.Message, why error, o *mailbox.Outcome) {
	n := readNote(task.Note)
	n.stopped++
	o.Note = n.kept()
	if m.Text == "" || m.Flags.Has(contracts.FlagUnkept) {
		return
	}
	var cut *cutShort
	var turn contracts.Turn
	reads := m.Flags.Has(contracts.FlagStream)
	switch {
	case reads && task.Undone != nil && task.Undone.Turn != nil: // the whole of it
		if made, _ := t.store.OpenTurns(task.Conversation, [][]byte{task.Undone.Turn}); len(made) == 1 {
			turn = made[0]
		}
	case reads && errors.As(why, &cut) && cut.said != "":
		turn = t.cutTurn(&task, m, cut.said)
	}
	if turn.Assistant == "" {
		if n.stopped > stoppedKept {
			return
		}
		turn = t.cutTurn(&task, m, "")
	}
	turn.Stopped = true
	sealed, err := t.store.SealTurn(task.Conversation, turn)
	if err != nil {
		t.log.Error().Err(err).Str("message_id", task.ID).Msg("stopped turn not recorded")
		return
	}
	o.Turn = sealed
}

func (t *turn) cutTurn(task *mailbox.Task, m *contracts.Message, said string) contracts.Turn {
	turn := contracts.Turn{ID: m.ID, User: m.Text, Assistant: said, At: t.now().UTC()}
	count := t.prompt
	if c, _, err := t.choose(task, m); err == nil {
		turn.User, count = c.Text, t.prompt.For(c.Model)
	}
	turn.Tokens = count.Count(turn.User) + count.Count(said)
	return turn
}
