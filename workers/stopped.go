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

// stopped completes the outcome of a message that the user stopped: it is
// counted for the answer of the command, and what was shown of its answer stays in
// the conversation. Of an answer that nobody read along nothing was shown.
func (t *turn) stopped(task mailbox.Task, m *contracts.Message, why error, o *mailbox.Outcome) {
	n := readNote(task.Note)
	n.stopped++
	o.Note = n.kept()
	if !m.Flags.Has(contracts.FlagStream) || m.Flags.Has(contracts.FlagUnkept) {
		return
	}
	var cut *cutShort
	var turn contracts.Turn
	switch {
	case task.Undone != nil && task.Undone.Turn != nil: // the whole of it
		if made, _ := t.store.OpenTurns(task.Conversation, [][]byte{task.Undone.Turn}); len(made) == 1 {
			turn = made[0]
		}
	case errors.As(why, &cut) && cut.said != "":
		turn = t.cutTurn(&task, m, cut.said)
	}
	if turn.Assistant == "" {
		return
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
