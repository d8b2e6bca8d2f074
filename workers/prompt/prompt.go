// Package prompt chooses what of a conversation the model gets to read: the
// system prompt of the route, the summary of what is long past, the newest rounds
// that fit, and the new message. It counts tokens and cuts what is too long
// between characters; it never talks to a model and fetches no image.
package prompt

import (
	"errors"
	"fmt"
	"regexp"
)

// Options are the settings of a Builder.
type Options struct {
	// Rounds is the most rounds of history that are sent. Default: 10.
	Rounds int
	// Tokens is the budget for what was said before: summary and rounds. The system
	// prompt, the new message and the provider's few tokens per message are not
	// counted. Default: 1024.
	Tokens int
	// MessageTokens is the most that a new message may have; a longer one is cut,
	// with a note. Messages that clients bring along are left alone. Default: 0, any.
	MessageTokens int
	// System is the system prompt where none of Systems matches. Default: none.
	System string
	// Systems are the system prompts of routes; the first that matches holds.
	Systems []System
	// Encoding is the models' way to cut text into tokens. Default: that of each
	// model, see For and EncodingFor.
	Encoding Encoding
}

// leastMessage leaves room for the note that a text was cut.
const leastMessage = 64

// Builder builds prompts. It is safe for concurrent use.
type Builder struct {
	opts     Options
	patterns []*regexp.Regexp // of opts.Systems
	count    func(string) int
	warm     func()
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
	if o.Rounds < 0 || o.Tokens < 0 || o.MessageTokens < 0 {
		errs = append(errs, fmt.Errorf("rounds (%d), tokens (%d) and message tokens (%d) must not be negative", o.Rounds, o.Tokens, o.MessageTokens))
	}
	if 0 < o.MessageTokens && o.MessageTokens < leastMessage {
		errs = append(errs, fmt.Errorf("message tokens (%d) must be 0 or at least %d", o.MessageTokens, leastMessage))
	}
	patterns, err := compile(o.Systems)
	errs = append(errs, err)
	if o.Encoding != O200kBase && o.Encoding != Cl100kBase {
		errs = append(errs, fmt.Errorf("unknown encoding %q", o.Encoding))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("prompt options: %w", err)
	}
	b := withEncoding(o, patterns)
	if free {
		o.Encoding = Cl100kBase
		b.others = map[Encoding]*Builder{o.Encoding: withEncoding(o, patterns)}
	}
	return b, nil
}

func withEncoding(o Options, patterns []*regexp.Regexp) *Builder {
	count := newCounter(o.Encoding)
	return &Builder{opts: o, patterns: patterns, count: count, warm: func() { count("") }}
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
