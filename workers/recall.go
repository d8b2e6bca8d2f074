package workers

import (
	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/prompt"
)

// history is what a message knows of its conversation. It is remembered from one
// message to the next, so nobody changes one that was handed on.
type history struct {
	summary *contracts.Summary // stands for what was said before turns; nil: nothing, or nobody has summarized it
	turns   []contracts.Turn   // oldest first
	fallen  fallen             // as the message left it
}

// fallen says what a prompt of the conversation has no room for any more.
type fallen struct {
	kept int    // newest turns that a prompt would hold
	upto string // id of the newest turn that it would not; empty: not known here
}

// recall gives what was said before: as the last message left it here, or from
// what begin brought.
func (t *turn) recall(task mailbox.Task) history {
	if h, ok := task.Memory.(*history); ok {
		known := *h
		known.turns = h.turns[max(0, len(h.turns)-task.Known):] // what the limits of the context took away goes here, too
		return known
	}
	turns, bad := t.store.OpenTurns(task.Conversation, task.Context)
	if bad > 0 {
		t.log.Warn().Str("conversation", task.Conversation).Int("turns", bad).Msg("turns that do not open are left out of the prompt")
	}
	return history{turns: turns, summary: t.summary(task)}
}

// summary opens the one that begin brought. One that does not open is left out:
// one bad record must not silence a conversation.
func (t *turn) summary(task mailbox.Task) *contracts.Summary {
	if len(task.Summary) == 0 {
		return nil
	}
	s, err := t.store.OpenSummary(task.Conversation, task.Summary)
	if err != nil {
		t.metrics.unopened()
		t.log.Warn().Err(err).Str("conversation", task.Conversation).Msg("a summary that does not open is left out of the prompt")
		return nil
	}
	return &s
}

// What a turn and a summary take in memory beside their texts, roughly.
const (
	turnSize    = 160
	summarySize = 256
)

// remember gives what the next message will want to know: the newest turns, in
// a slice of its own, because the old one may be in use.
func (t *turn) remember(before history, said contracts.Turn) (h *history, size int) {
	all := append(append(make([]contracts.Turn, 0, len(before.turns)+1), before.turns...), said)
	h = &history{summary: before.summary, turns: all[max(0, len(all)-t.window):]}
	h.fallen = t.fallen(h, all)
	for i := range h.turns {
		size += turnSize + len(h.turns[i].User) + len(h.turns[i].Assistant)
	}
	if h.summary != nil {
		size += summarySize + len(h.summary.Text)
	}
	return h, size
}

// fallen asks for a prompt with nothing new in it: the next one has room for no
// more of what h remembers than that, and none for what is only in all.
func (t *turn) fallen(h *history, all []contracts.Turn) fallen {
	f := fallen{kept: t.prompt.Build(h.told(), prompt.Ask{}).Kept}
	if i := len(all) - 1 - f.kept; i >= 0 {
		f.upto = all[i].ID
	}
	return f
}

// told is what a prompt is made of.
func (h history) told() prompt.History { return prompt.History{Summary: h.summary, Turns: h.turns} }
