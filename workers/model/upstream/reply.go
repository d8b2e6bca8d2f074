package upstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"moltbot/contracts"
	"moltbot/workers/model"
)

// What a wire may find an answer to be.
var (
	ErrFiltered = errors.New("the provider filtered the answer")
	ErrBroke    = errors.New("the provider broke off")
	// ErrCalls: the answer wants more than MaxCalls tools called.
	ErrCalls = errors.New("the answer has too many tool calls")
	// ErrRequest: the provider's protocol has no way to say what was asked.
	ErrRequest = errors.New("the request cannot be put to this provider")

	errNoRoom = errors.New("the token limit was reached before any text")
	errEmpty  = errors.New("the answer has no text")
)

// MaxCalls is how many tools one answer may want called.
const MaxCalls = 128

const (
	maxTokens   = 10_000_000 // the largest token count that is believed
	imageTokens = 1000       // about what an image costs

	bytesPerToken = 3 // about
)

// Sink takes an answer while a wire reads it. Its zero value takes it silently.
type Sink struct {
	Streamed bool              // the answer comes in pieces
	OnToken  func()            // a token came, shown or not
	OnDelta  func(text string) // a piece of the text
	OnEnd    func()            // the answer is complete, only its usage may follow

	begun bool // a token came
	size  int  // bytes of the pieces
}

// Token says that the model is at work.
func (s *Sink) Token() {
	s.begun = true
	if s.OnToken != nil {
		s.OnToken()
	}
}

// Piece gives a piece of a streamed text.
func (s *Sink) Piece(text string) {
	if text != "" {
		s.Token()
		s.size += len(text)
		s.show(text)
	}
}

// cut is what is known of an answer that broke off: providers charge for what they
// wrote. Nil where nothing came.
func (s *Sink) cut() *Reply {
	if !s.begun {
		return nil
	}
	return &Reply{Usage: Usage{Prompt: -1, Completion: s.size / bytesPerToken}}
}

// End says that whatever still comes is not worth a long wait.
func (s *Sink) End() {
	if s.OnEnd != nil {
		s.OnEnd()
	}
}

func (s *Sink) show(text string) {
	if text != "" && s.OnDelta != nil {
		s.OnDelta(text)
	}
}

// Reply is a decoded answer.
type Reply struct {
	Text   string
	Calls  []contracts.ToolCall
	Finish string // one of the model's, or empty
	Usage  Usage
	// Thought: the model thought aloud; that is not in Text.
	Thought bool
}

// Usage are token counts, -1 where the provider's are missing or not to be believed.
type Usage struct {
	Prompt, Completion int
	Hidden             int // of the completion: those that are not in the text, 0 where not known
}

// NoUsage knows nothing.
func NoUsage() Usage { return Usage{Prompt: -1, Completion: -1} }

// Count gives -1 for what is no number, negative or absurd.
func Count(raw json.RawMessage) int {
	var n float64
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) || json.Unmarshal(raw, &n) != nil || n < 0 || n > maxTokens {
		return -1
	}
	return int(n)
}

// check settles how the answer finished, or why it is none.
func (r *Reply) check() error {
	empty := strings.TrimSpace(r.Text) == ""
	switch {
	case len(r.Calls) > 0:
		if r.Finish != model.FinishLength {
			r.Finish = model.FinishTools
		}
	case empty && r.Finish == model.FinishLength:
		return errNoRoom
	case empty:
		return errEmpty
	case r.Finish != model.FinishLength:
		r.Finish = model.FinishStop
	}
	return nil
}

func (r *Reply) answer(name, provider string, q *model.Request) model.Answer {
	return model.Answer{
		Text: r.Text, ToolCalls: r.Calls, Model: name, Version: provider + "/" + name, Finish: r.Finish, Tokens: r.tokens(), Usage: r.used(q),
	}
}

// used is what the provider says, or an estimate.
func (r *Reply) used(q *model.Request) contracts.Usage {
	u := contracts.Usage{PromptTokens: r.Usage.Prompt, CompletionTokens: r.Usage.Completion}
	if u.PromptTokens < 0 {
		u.PromptTokens = estimatePrompt(q)
	}
	if u.CompletionTokens < 0 {
		u.CompletionTokens = estimateAnswer(r)
	}
	return u
}

// tokens are those of the text alone; 0 where they are not known.
func (r *Reply) tokens() int {
	if r.Usage.Completion < 0 || len(r.Calls) > 0 || r.Thought && r.Usage.Hidden == 0 {
		return 0
	}
	n := r.Usage.Completion - r.Usage.Hidden
	// Fewer would let the next prompts outgrow their budget, more would waste it.
	if n < len(r.Text)/16 || n > len(r.Text) {
		return 0
	}
	return n
}

// estimate guesses the tokens of a text from its bytes.
func estimate(text string) int { return len(text) / bytesPerToken }

func estimatePrompt(r *model.Request) int {
	sum := estimate(string(r.Params.Tools))
	for i := range r.Messages {
		m := &r.Messages[i]
		sum += estimate(m.Text)
		for _, p := range m.Parts {
			sum += estimate(p.Text)
			if p.Image != "" {
				sum += imageTokens
			}
		}
		sum += estimateCalls(m.ToolCalls)
	}
	return sum
}

func estimateAnswer(r *Reply) int { return estimate(r.Text) + estimateCalls(r.Calls) }

func estimateCalls(calls []contracts.ToolCall) int {
	sum := 0
	for _, c := range calls {
		sum += estimate(c.Name) + estimate(c.Arguments)
	}
	return sum
}
