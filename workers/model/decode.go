package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/openai/openai-go/v3/packages/ssestream"

	"moltbot/contracts"
)

// What an answer may finish with.
const (
	finishStop   = "stop"
	finishLength = "length"
)

// maxTokens is the largest token count that is believed.
const maxTokens = 10_000_000

// completion is a chat completion or a chunk of one, as far as we read it. The
// SDK's own types forgive wrong types; ours must not.
type completion struct {
	Choices []struct {
		Index   int    `json:"index"`
		Message text   `json:"message"` // plain
		Delta   text   `json:"delta"`   // streamed
		Finish  string `json:"finish_reason"`
	} `json:"choices"`
	Usage json.RawMessage `json:"usage"` // read leniently: it never spoils an answer
	Error json.RawMessage `json:"error"`
}

type text struct {
	Content string `json:"content"`
	Refusal string `json:"refusal"`
	// Reasoning is what DeepSeek and others stream before the answer. It is
	// dropped, but it shows that the model is at work.
	Reasoning string `json:"reasoning_content"`
}

// said is what the user reads: a refusal is an answer, too.
func (t text) said() string { return t.Content + t.Refusal }

// reply is a decoded answer. Its usage counts are -1 where the provider's are
// missing or not to be believed.
type reply struct {
	text, finish string
	usage        usage
	reasoned     bool // the model thought aloud; that is not in text
}

// usage adds to the counts how many tokens of the completion are not in the text.
type usage struct {
	contracts.Usage
	reasoning int
}

// tokens are those of the text alone; 0 where they are not known.
func (r reply) tokens() int {
	if r.usage.CompletionTokens < 0 || r.reasoned && r.usage.reasoning == 0 {
		return 0
	}
	return plausible(r.usage.CompletionTokens-r.usage.reasoning, r.text)
}

// reported is an error that came in the body of a 200.
type reported struct{ text string }

func (r reported) Error() string { return "the provider reports: " + r.text }

func parseCompletion(b []byte) (completion, error) {
	var c completion
	if err := json.Unmarshal(b, &c); err != nil {
		return completion{}, fmt.Errorf("decode answer: %w", err)
	}
	if len(c.Error) > 0 && !bytes.Equal(c.Error, []byte("null")) {
		return completion{}, reported{hint(b)}
	}
	return c, nil
}

// decodePlain reads an answer that comes as one JSON document.
func decodePlain(r io.Reader) (reply, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return reply{}, fmt.Errorf("read answer: %w", err)
	}
	c, err := parseCompletion(b)
	if err != nil {
		return reply{}, err
	}
	if len(c.Choices) == 0 {
		return reply{}, errors.New("decode answer: no choices")
	}
	first := c.Choices[0]
	return reply{
		text: first.Message.said(), finish: first.Finish, usage: believe(c.Usage), reasoned: first.Message.Reasoning != "",
	}, nil
}

// stream collects the chunks of a streamed answer.
type stream struct {
	dec     ssestream.Decoder
	onToken func()            // a token came, shown or not
	onDelta func(text string) // a piece of the answer; may be nil
	onEnd   func()            // the answer is complete, only its usage may follow

	text   strings.Builder
	finish string
	usage  usage

	reasoned bool
}

// decode reads until [DONE] or the end. Once the finish reason is there, the
// answer is whole and whatever goes wrong after it no longer matters.
func (s *stream) decode() (reply, error) {
	s.usage = believe(nil)
	done := false
	var err error
	for !done && err == nil && s.dec.Next() {
		done, err = s.event(s.dec.Event().Data)
	}
	if err == nil {
		err = s.dec.Err()
	}
	switch {
	case done || s.finish != "":
		return reply{text: s.text.String(), finish: s.finish, usage: s.usage, reasoned: s.reasoned}, nil
	case err != nil:
		return reply{}, fmt.Errorf("read stream: %w", err)
	}
	return reply{}, errors.New("read stream: it ended before the answer did")
}

func (s *stream) event(data []byte) (done bool, err error) {
	data = bytes.TrimSpace(data)
	if bytes.Equal(data, []byte("[DONE]")) {
		return true, nil
	}
	if len(data) == 0 {
		return false, nil
	}
	c, err := parseCompletion(data)
	if err != nil {
		return false, err
	}
	if len(c.Usage) > 0 {
		s.usage = believe(c.Usage)
	}
	for _, choice := range c.Choices {
		if choice.Index == 0 {
			s.add(choice.Delta, choice.Finish)
		}
	}
	return false, nil
}

func (s *stream) add(t text, finish string) {
	piece := t.said()
	if piece != "" || t.Reasoning != "" {
		s.onToken()
		s.reasoned = s.reasoned || t.Reasoning != ""
	}
	s.text.WriteString(piece)
	if piece != "" && s.onDelta != nil {
		s.onDelta(piece)
	}
	if finish != "" {
		s.finish = finish
		s.onEnd()
	}
}

// believe reads token counts and gives -1 for each that is missing, negative,
// not a number or absurd.
func believe(raw json.RawMessage) usage {
	var u struct {
		Prompt     any             `json:"prompt_tokens"`
		Completion any             `json:"completion_tokens"`
		Details    json.RawMessage `json:"completion_tokens_details"`
	}
	if json.Unmarshal(raw, &u) != nil {
		return usage{Usage: contracts.Usage{PromptTokens: -1, CompletionTokens: -1}}
	}
	var details struct {
		Reasoning any `json:"reasoning_tokens"`
	}
	_ = json.Unmarshal(u.Details, &details) // optional, and often odd
	return usage{
		Usage:     contracts.Usage{PromptTokens: believeCount(u.Prompt), CompletionTokens: believeCount(u.Completion)},
		reasoning: max(0, believeCount(details.Reasoning)),
	}
}

func believeCount(v any) int {
	n, ok := v.(float64)
	if !ok || n < 0 || n > maxTokens {
		return -1
	}
	return int(n)
}
