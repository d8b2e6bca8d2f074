package workers

import (
	"context"
	"slices"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
)

// commandOf reads a message as a command. What a client wrote for the model, as
// part of messages of its own, is none, nor is what nobody can read.
func commandOf(m *contracts.Message) (contracts.Command, bool) {
	if m.Prompt != "" || m.Say != "" {
		return contracts.Command{}, false
	}
	return contracts.ParseCommand(m.Text)
}

// command answers a command, without a model. It is committed in its turn like
// any other message, but becomes no part of the conversation, and no stop reaches it.
func (t *turn) command(task *mailbox.Task, m *contracts.Message, c contracts.Command, p *pieces) (o mailbox.Outcome, err error) {
	t.metrics.commanded(c.Name)
	said, n := wordsFor(m), readNote(task.Note)
	text := ""
	switch c.Name {
	case contracts.CommandNew:
		text, o.Reset = said.fresh, true
	case contracts.CommandStop:
		text = said.stop(n.stopped)
		n.stopped = 0
	case contracts.CommandModel:
		text = t.modelCommand(m, c.Argument, &n)
	default:
		text = said.help
	}
	if s := n.String(); s != task.Note {
		o.Note = &s
	}
	o.Unstopped = true
	if p != nil {
		p.add(text)
	}
	t.log.Info().Str("request_id", m.RequestID).Str("message_id", m.ID).Str("user_id", m.Caller).Str("command", string(c.Name)).Msg("command answered")
	answer, err := t.said(task, m, text)
	o.Result, o.Out = answer.Result, answer.Out
	return o, err
}

// modelCommand lists the models, or chooses one and says so.
func (t *turn) modelCommand(m *contracts.Message, name string, n *note) string {
	said := wordsFor(m)
	names := slices.DeleteFunc(t.models.Names(), func(name string) bool { return !m.Allow.Allow(name) })
	switch {
	case name == "":
		return said.models(names, n.model, t.unchosen(m))
	case name == "default" || name == "默认":
		n.model = ""
		return said.unchosen
	case !slices.Contains(names, name):
		return said.noModel
	}
	n.model = name
	return said.chosen(name)
}

// unchosen is the model that answers where none is chosen.
func (t *turn) unchosen(m *contracts.Message) string {
	c, err := t.models.Choose(contracts.Message{Route: m.Route})
	if err != nil {
		return ""
	}
	return c.Name
}

// commandIn reads the command of a message that is not open yet.
func (t *turn) commandIn(letter any) (m contracts.Message, c contracts.Command, ok bool) {
	l, ok := letter.(contracts.Letter)
	if !ok {
		return m, c, false
	}
	m, err := l.Open(t.sealer)
	if err != nil {
		return m, c, false
	}
	c, ok = commandOf(&m)
	return m, c, ok
}

// unstoppable is the mailbox's question for messages that a stop would reach.
func (t *turn) unstoppable(letter any) bool {
	_, _, ok := t.commandIn(letter)
	return ok
}

// maxStop is more than the longest sensible command to stop takes, sealed.
const maxStop = 8 << 10

// busy looks whether a delivery that has to wait is a command to stop: whoever
// accepted it may have died before it could say so.
func (t *turn) busy(ctx context.Context, task mailbox.Task, life int64) (free bool) {
	if len(task.Data) > maxStop {
		return false
	}
	_, c, ok := t.commandIn(task.Letter)
	if !ok || c.Name != contracts.CommandStop {
		return false
	}
	free, err := t.store.Stop(ctx, task.Conversation, task.Sequence, life)
	if err != nil {
		t.log.Debug().Err(err).Str("message_id", task.ID).Msg("stop not recorded, it happens in its turn")
	}
	t.replies.stop(task.ID, task.Sequence, life)
	return free
}
