// Package prompt chooses what of a conversation the model gets to read: the
// system prompt, the newest rounds that fit, and the new message. It counts
// tokens; it never talks to a model and never cuts a text.
package prompt

import (
	"errors"
	"fmt"
	"slices"

	"moltbot/contracts"
	"moltbot/workers/model"
)

// Options are the settings of a Builder.
type Options struct {
	// Rounds is the most rounds of history that are sent. Default: 10.
	Rounds int
	// Tokens is the budget for history and new message together. The system
	// prompt and the provider's few tokens per message are not counted.
	// Default: 1024.
	Tokens int
	// System is the system prompt. Default: none.
	System string
	// Encoding is the models' way to cut text into tokens. Default: that of each
	// model, see For and EncodingFor.
	Encoding Encoding
}

// Builder builds prompts. It is safe for concurrent use.
type Builder struct {
	opts  Options
	count func(string) int
	warm  func()
	// others count like models of another encoding; none where it is fixed.
	others map[Encoding]*Builder
}

// New checks the options. The vocabulary is loaded at first use, see Warm.
func New(o Options) (*Builder, error) {
	if o.Rounds == 0 {
		o.Rounds = 10
	}
	if o.Tokens == 0 {
		o.Tokens = 1024
	}
	free := o.Encoding == ""
	if free {
		o.Encoding = O200kBase
	}
	var errs []error
	if o.Rounds < 0 || o.Tokens < 0 {
		errs = append(errs, fmt.Errorf("rounds (%d) and tokens (%d) must not be negative", o.Rounds, o.Tokens))
	}
	if o.Encoding != O200kBase && o.Encoding != Cl100kBase {
		errs = append(errs, fmt.Errorf("unknown encoding %q", o.Encoding))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("prompt options: %w", err)
	}
	b := withEncoding(o)
	if free {
		o.Encoding = Cl100kBase
		b.others = map[Encoding]*Builder{o.Encoding: withEncoding(o)}
	}
	return b, nil
}

func withEncoding(o Options) *Builder {
	count := newCounter(o.Encoding)
	return &Builder{opts: o, count: count, warm: func() { count("") }}
}

// For gives the builder that counts as the model of this name does.
func (b *Builder) For(modelName string) *Builder {
	if other, ok := b.others[EncodingFor(modelName)]; ok {
		return other
	}
	return b
}

// Warm loads the vocabulary now, so that the first message does not wait for it.
func (b *Builder) Warm() { b.warm() }

// Count gives the tokens of a text: exact up to 1 KiB, beyond that a little more
// at most than the model would count.
func (b *Builder) Count(text string) int { return b.count(text) }

// Build gives the prompt for text after turns, which are in the order they were
// written. The new message is always kept whole, even when it alone is over the
// budget. Of the turns it keeps the newest without a gap, and only whole ones.
func (b *Builder) Build(turns []contracts.Turn, text string) []model.Message {
	turns = turns[b.oldest(turns, text):]
	messages := make([]model.Message, 0, 2+2*len(turns))
	if b.opts.System != "" {
		messages = append(messages, model.Message{Role: model.RoleSystem, Text: b.opts.System})
	}
	for _, t := range turns {
		messages = append(messages,
			model.Message{Role: model.RoleUser, Text: t.User},
			model.Message{Role: model.RoleAssistant, Text: t.Assistant})
	}
	return append(messages, model.Message{Role: model.RoleUser, Text: text})
}

// Join gives the prompt of a client that brings messages of its own to a
// session: what the session remembers, then own, which is kept whole. A system
// message of its own takes the place of the configured one.
func (b *Builder) Join(turns []contracts.Turn, own []model.Message) []model.Message {
	own, system := slices.Clone(own), []model.Message(nil)
	for len(own) > 0 && own[0].Role == model.RoleSystem {
		system, own = append(system, own[0]), own[1:]
	}
	text := ""
	for _, m := range own {
		text += m.Text
	}
	built := b.Build(turns, text)
	if len(system) > 0 && len(built) > 0 && built[0].Role == model.RoleSystem {
		built = built[1:]
	}
	return slices.Concat(system, built[:len(built)-1], own)
}

// oldest is the index of the first turn that is sent.
func (b *Builder) oldest(turns []contracts.Turn, text string) int {
	first := max(0, len(turns)-b.opts.Rounds)
	left := b.opts.Tokens
	if len(turns) == 0 || b.surelyFits(turns[first:], text) {
		return first
	}
	left -= b.Count(text)
	for i, t := range slices.Backward(turns) {
		left -= b.tokens(t)
		if i < first || left < 0 {
			return i + 1
		}
	}
	return 0
}

// surelyFits spares counting the new message: a token has a byte at least.
func (b *Builder) surelyFits(turns []contracts.Turn, text string) bool {
	tokens := len(text)
	for _, t := range turns {
		tokens += b.tokens(t)
	}
	return tokens <= b.opts.Tokens
}

// tokens is what the turn was counted at when it was written. An older record
// may lack it.
func (b *Builder) tokens(t contracts.Turn) int {
	if t.Tokens > 0 {
		return t.Tokens
	}
	return b.Count(t.User) + b.Count(t.Assistant)
}
