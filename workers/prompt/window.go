package prompt

import (
	"slices"

	"moltbot/contracts"
	"moltbot/workers/model"
)

// History is what came before a message.
type History struct {
	Summary *contracts.Summary // of the turns before Turns; nil: there is none
	Turns   []contracts.Turn   // in the order they were written
}

// Ask is a new message.
type Ask struct {
	Text   string
	System string // system prompt, as System gave it; empty: none
}

// Prompt is what the model gets to read.
type Prompt struct {
	Messages []model.Message
	// Kept is how many of the given turns are in it, always the newest. The others
	// fell out of the window.
	Kept int
	// Shortened says that a text was cut.
	Shortened bool
}

// Build gives the prompt for a message after what was said before: system prompt,
// summary, turns, message.
func (b *Builder) Build(h History, ask Ask) Prompt {
	p := Prompt{Messages: make([]model.Message, 0, 3+2*len(h.Turns))}
	if ask.System != "" {
		p.Messages = append(p.Messages, model.Message{Role: model.RoleSystem, Text: ask.System})
	}
	b.remember(&p, h)
	text, cut := b.shorten(ask.Text, b.opts.MessageTokens)
	p.Shortened = p.Shortened || cut
	p.Messages = append(p.Messages, model.Message{Role: model.RoleUser, Text: text})
	return p
}

// Join gives the prompt of a client that brings messages of its own to a
// session: what the session remembers, then own, which is kept whole. A system
// message of its own takes the place of the configured one.
func (b *Builder) Join(h History, own []model.Message) Prompt {
	p := Prompt{Messages: make([]model.Message, 0, 2+2*len(h.Turns)+len(own))}
	n := slices.IndexFunc(own, func(m model.Message) bool { return m.Role != model.RoleSystem })
	if n < 0 {
		n = len(own)
	}
	if p.Messages = append(p.Messages, own[:n]...); n == 0 && b.opts.System != "" {
		p.Messages = append(p.Messages, model.Message{Role: model.RoleSystem, Text: b.opts.System})
	}
	b.remember(&p, h)
	p.Messages = append(p.Messages, own[n:]...)
	return p
}

// remember adds what fits of h. The newest round is always there, cut if it must
// be; of the others only whole ones without a gap.
func (b *Builder) remember(p *Prompt, h History) {
	left := b.opts.Tokens
	if h.Summary != nil && h.Summary.Text != "" {
		left -= b.summarize(p, h.Summary)
	}
	from, short := b.oldest(h.Turns, left)
	p.Kept = len(h.Turns) - from
	for _, t := range h.Turns[from:] {
		if unsaid(t) {
			continue
		}
		if short {
			var cut bool
			t, cut = b.squeeze(t, left)
			p.Shortened = p.Shortened || cut
		}
		if t.User == "" || t.Assistant == "" {
			p.Kept-- // the budget has no room for anything
			continue
		}
		p.Messages = append(p.Messages,
			model.Message{Role: model.RoleUser, Text: t.User},
			model.Message{Role: model.RoleAssistant, Text: said(t)})
	}
}

// oldest is the index of the first turn that is sent. Where that is the newest
// and it is too long to be sent whole, short is true.
func (b *Builder) oldest(turns []contracts.Turn, left int) (from int, short bool) {
	rounds := 0
	for i, t := range slices.Backward(turns) {
		if unsaid(t) {
			continue // not sent, and nothing that a summary would miss
		}
		if rounds == b.opts.Rounds {
			return i + 1, false
		}
		if left -= b.tokens(t, left); left < 0 {
			if rounds > 0 {
				return i + 1, false
			}
			return i, true
		}
		rounds++
	}
	return 0, false
}

// tokens is what the turn was counted at when it was written, and its note. An
// older record may lack it: then it is counted as far as it can matter.
func (b *Builder) tokens(t contracts.Turn, most int) int {
	n := t.Tokens
	for _, text := range []string{t.User, t.Assistant} {
		if t.Tokens > 0 || n > most {
			break
		}
		_, more, whole := b.prefix(text, most)
		if n += more; !whole {
			n = most + 1
		}
	}
	if t.Stopped {
		n += b.Count(stoppedNote(t))
	}
	return n
}
