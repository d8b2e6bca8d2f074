// Package model answers prompts: through an OpenAI-compatible provider, or with
// a demo that needs no key. It asks once per call; it never retries, never
// follows a redirect, and never lets a provider's text reach a client as an
// error.
package model

import (
	"context"

	"moltbot/contracts"
)

// Role says who wrote a message.
type Role string

// The roles of a prompt.
const (
	RoleSystem    Role = "system"
	RoleUser      Role = "user"
	RoleAssistant Role = "assistant"
)

// Message is one message of a prompt.
type Message struct {
	Role Role
	Text string
}

// Request is one prompt with what belongs to it.
type Request struct {
	Messages []Message
	// User is an opaque hash of the caller, for the provider's abuse control.
	User string
	// Model overrides the completer's own model.
	Model string
	// OnDelta gets the answer piece by piece, on the caller's goroutine. An
	// error may follow pieces that were already given. Nil: nobody streams.
	OnDelta func(text string)
}

// Answer is what the model wrote. Its text is never empty.
type Answer struct {
	Text string
	// Model is the model that was asked; Version adds the provider's name.
	Model, Version string
	// Finish is "stop", or "length" when the answer was cut at the token limit.
	Finish string
	Usage  contracts.Usage
	// Tokens of Text alone, as the provider's own tokenizer counted them; 0 where
	// it did not say or is not to be believed.
	Tokens int
}

// Completer answers a prompt. Its error is the context's own when the caller
// gave up, else it is or wraps a *contracts.Error: Retryable says whether the
// provider may do better later.
type Completer interface {
	Complete(ctx context.Context, r Request) (Answer, error)
}

// plausible gives n if a text of this length may well have so many tokens.
// Fewer would let the next prompts outgrow their budget, more would waste it.
func plausible(n int, text string) int {
	if n < len(text)/16 || n > len(text) {
		return 0
	}
	return n
}

// estimate guesses the tokens of a text from its bytes.
func estimate(text string) int { return len(text) / 3 }

func estimatePrompt(messages []Message) int {
	sum := 0
	for _, m := range messages {
		sum += estimate(m.Text)
	}
	return sum
}
