package workers

import (
	"fmt"
	"slices"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/model"
)

// choose finds who answers m: the model that it names, else the one that the user
// chose for the session, else the one of its route, else the default. gone says
// that the chosen one is not in the table any more: then it is chosen no longer.
func (t *turn) choose(task *mailbox.Task, m *contracts.Message) (c model.Choice, gone bool, err error) {
	chosen := ""
	if m.Model == "" && m.Prompt == "" {
		chosen = readNote(task.Note).model
	}
	if gone = chosen != "" && !slices.Contains(t.models.Names(), chosen); gone {
		t.log.Warn().Str("message_id", m.ID).Str("model", chosen).Msg("the model that was chosen for this session is gone; the table chooses")
	}
	asked := *m
	if chosen != "" && !gone && m.Allow.Allow(chosen) { // a token may be narrower than the one that chose
		asked.Model = chosen
	}
	if c, err = t.models.Choose(asked); err != nil {
		return c, gone, err
	}
	if !m.Allow.Allow(c.Name) {
		return c, gone, &contracts.Error{Code: contracts.CodeModelUnknown, Message: fmt.Sprintf(
			"this message would go to the model %q, which this token may not use; name one that it may", c.Name)}
	}
	return c, gone, nil
}
