// Package model says what a prompt, its answer and a provider's failure are, and
// answers with a demo that needs no key. It caps how many calls run at a time; it
// never speaks to a provider itself: the packages under it do.
package model

import (
	"context"
	"time"

	"moltbot/contracts"
)

// The roles of a prompt.
const (
	RoleSystem    = contracts.RoleSystem
	RoleUser      = contracts.RoleUser
	RoleAssistant = contracts.RoleAssistant
	RoleTool      = contracts.RoleTool
)

// Message is one message of a prompt.
type Message = contracts.PromptMessage

// Request is one prompt with what belongs to it.
type Request struct {
	Messages []Message
	// User is an opaque hash of the conversation, for the provider's abuse control.
	User string
	// Caller is who asks, such as "api:alice". It never goes to a provider.
	Caller string
	// Model overrides the completer's own model.
	Model string
	// Params are what the client chose; what it did not is the model's.
	Params contracts.Params
	// Fresh wants no answer that was made for another request.
	Fresh bool
	// OnDelta gets the answer piece by piece, on the caller's goroutine. An
	// error may follow pieces that were already given. Nil: nobody streams.
	OnDelta func(text string)
}

// Answer is what the model wrote. It has a text, or calls, or both.
type Answer struct {
	Text string
	// ToolCalls are what the model wants its client to call.
	ToolCalls []contracts.ToolCall
	// Model is the model that was asked; Version adds the provider's name.
	Model, Version string
	// Finish is "stop", "length" when the answer was cut at the token limit, or
	// "tool_calls".
	Finish string
	Usage  contracts.Usage
	// Tokens of Text alone, as the provider's own tokenizer counted them; 0 where
	// it did not say or is not to be believed.
	Tokens int
	// Cached says that it was made for another request.
	Cached bool
	// Key is the digest under which it is kept for identical requests; empty: it is not.
	Key string
	// Apology says that no model answered, and that Text is an apology for it.
	Apology bool
	// Cost in the operator's currency, and the time until the first token, as they
	// were counted; 0: nobody did, or there was none.
	Cost       float64
	FirstToken time.Duration
}

// What an answer may finish with.
const (
	FinishStop   = "stop"
	FinishLength = "length" // cut at the token limit
	FinishTools  = "tool_calls"
	finishStop   = FinishStop
)

// Completer answers a prompt. Its error is the context's own when the caller
// gave up, else it is or wraps a *contracts.Error: Retryable says whether the
// provider may do better later. Beside an error the Answer's Usage, and nothing
// else of it, says what was paid for all the same.
type Completer interface {
	Complete(ctx context.Context, r Request) (Answer, error)
}

// Choice is who answers one message, by the table that holds at the moment. It
// stays what it is when the table changes.
type Choice struct {
	Completer
	Name string // of the model, as the table or the caller calls it
	// Listed is the name in the table that it falls under, for metrics and spans:
	// unlike Name it is never what a caller wrote. May be empty.
	Listed string
	Model  string // as the provider knows it
	Text   string // of the message, without the route that led it
	Route  string // that led to the model; empty: none did
	// Blind says that the model sees no images.
	Blind bool
	Table int64 // revision of the table; 0: there is none
}

// Only is a Choice without a table: one Completer answers everything, with the
// model that the message names or its own.
type Only struct{ Completer }

// Choose gives the one completer.
func (o Only) Choose(m contracts.Message) (Choice, error) {
	return Choice{Completer: o.Completer, Name: m.Model, Model: m.Model, Text: m.Text}, nil
}

// Names gives none: there is nothing to choose from.
func (o Only) Names() []string { return nil }

// estimate guesses the tokens of a text from its bytes.
func estimate(text string) int { return (len(text) + 2) / 3 }

func estimatePrompt(messages []Message) int {
	sum := 0
	for _, m := range messages {
		sum += estimate(m.Text)
	}
	return sum
}
