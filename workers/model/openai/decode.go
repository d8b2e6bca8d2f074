package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/openai/openai-go/v3/packages/ssestream"

	"moltbot/workers/model"
	"moltbot/workers/model/upstream"
)

// completion is a chat completion or a chunk of one, as far as we read it. The
// SDK's own types forgive wrong types; ours must not.
type completion struct {
	Choices []struct {
		Index   int    `json:"index"`
		Message said   `json:"message"` // plain
		Delta   said   `json:"delta"`   // streamed
		Finish  string `json:"finish_reason"`
	} `json:"choices"`
	Usage json.RawMessage `json:"usage"` // read leniently: it never spoils an answer
	Error json.RawMessage `json:"error"`
}

type said struct {
	Content string `json:"content"`
	Refusal string `json:"refusal"`
	// Reasoning is what DeepSeek and others stream before the answer. It is
	// dropped, but it shows that the model is at work.
	Reasoning string     `json:"reasoning_content"`
	ToolCalls []wireCall `json:"tool_calls"`
}

// text is what the user reads: a refusal is an answer, too.
func (s *said) text() string { return s.Content + s.Refusal }

func parse(b []byte) (*completion, error) {
	var c completion
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("decode answer: %w", err)
	}
	if len(c.Error) > 0 && !bytes.Equal(c.Error, []byte("null")) {
		return nil, upstream.Reported(b)
	}
	return &c, nil
}

// Read decodes an answer in pieces or in one.
func (w *wire) Read(res *http.Response, sink *upstream.Sink) (*upstream.Reply, error) {
	if sink.Streamed {
		s := &stream{dec: ssestream.NewDecoder(res), sink: sink}
		return s.read()
	}
	return readPlain(res.Body)
}

// readPlain reads an answer that comes as one JSON document.
func readPlain(r io.Reader) (*upstream.Reply, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	c, err := parse(b)
	if err != nil {
		return nil, err
	}
	if len(c.Choices) == 0 {
		return nil, errors.New("decode answer: no choices")
	}
	first := &c.Choices[0]
	var calls calls
	if err := calls.add(first.Message.ToolCalls); err != nil {
		return nil, err
	}
	return conclude(&upstream.Reply{
		Text: first.Message.text(), Usage: believe(c.Usage), Thought: first.Message.Reasoning != "",
	}, &calls, first.Finish)
}

// conclude completes an answer by its tool calls and by why it ended.
func conclude(r *upstream.Reply, c *calls, reason string) (*upstream.Reply, error) {
	var err error
	if r.Finish, err = finish(reason); err != nil {
		return nil, err
	}
	r.Calls, err = c.done()
	return r, err
}

// finish maps the providers' reasons to ours, or to an error.
func finish(reason string) (string, error) {
	switch reason {
	case "content_filter", "sensitive": // the latter is Zhipu's
		return "", upstream.ErrFiltered
	case "error", "network_error", "insufficient_system_resource": // OpenRouter, Zhipu, DeepSeek
		return "", fmt.Errorf("%w: %s", upstream.ErrBroke, reason)
	case "length":
		return model.FinishLength, nil
	}
	return model.FinishStop, nil
}

// stream collects the chunks of a streamed answer.
type stream struct {
	dec  ssestream.Decoder
	sink *upstream.Sink

	text    strings.Builder
	calls   calls
	finish  string
	usage   upstream.Usage
	thought bool
}

// read reads until [DONE] or the end. Once the finish reason is there, the
// answer is whole and whatever goes wrong after it no longer matters.
func (s *stream) read() (*upstream.Reply, error) {
	s.usage = upstream.NoUsage()
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
		return conclude(&upstream.Reply{Text: s.text.String(), Usage: s.usage, Thought: s.thought}, &s.calls, s.finish)
	case err != nil:
		return nil, fmt.Errorf("read stream: %w", err)
	}
	return nil, errors.New("read stream: it ended before the answer did")
}

func (s *stream) event(data []byte) (done bool, err error) {
	data = bytes.TrimSpace(data)
	if bytes.Equal(data, []byte("[DONE]")) {
		return true, nil
	}
	if len(data) == 0 {
		return false, nil
	}
	c, err := parse(data)
	if err != nil {
		return false, err
	}
	if len(c.Usage) > 0 {
		s.usage = believe(c.Usage)
	}
	for i := range c.Choices {
		choice := &c.Choices[i]
		if choice.Index != 0 {
			continue
		}
		if err := s.add(&choice.Delta, choice.Finish); err != nil {
			return false, err
		}
	}
	return false, nil
}

func (s *stream) add(d *said, finish string) error {
	if d.Reasoning != "" || len(d.ToolCalls) > 0 {
		s.sink.Token()
		s.thought = s.thought || d.Reasoning != ""
	}
	piece := d.text()
	s.text.WriteString(piece)
	s.sink.Piece(piece)
	if err := s.calls.add(d.ToolCalls); err != nil {
		return err
	}
	if finish != "" && s.finish == "" { // the first holds: some servers say "stop" once more
		s.finish = finish
		s.sink.End()
	}
	return nil
}

// believe reads token counts as far as they can be true.
func believe(raw json.RawMessage) upstream.Usage {
	var u struct {
		Prompt     json.RawMessage `json:"prompt_tokens"`
		Completion json.RawMessage `json:"completion_tokens"`
		Details    json.RawMessage `json:"completion_tokens_details"`
	}
	if json.Unmarshal(raw, &u) != nil {
		return upstream.NoUsage()
	}
	var details struct {
		Reasoning json.RawMessage `json:"reasoning_tokens"`
	}
	_ = json.Unmarshal(u.Details, &details) // optional, and often odd
	return upstream.Usage{
		Prompt: upstream.Count(u.Prompt), Completion: upstream.Count(u.Completion), Hidden: max(0, upstream.Count(details.Reasoning)),
	}
}

var _ upstream.Wire = (*wire)(nil)
