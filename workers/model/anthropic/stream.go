package anthropic

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/anthropics/anthropic-sdk-go/packages/ssestream"

	"moltbot/contracts"
	"moltbot/workers/model/upstream"
)

// event is one event of a stream, of any type.
type event struct {
	Type    string  `json:"type"`
	Index   int     `json:"index"`
	Message message `json:"message"`       // message_start
	Block   content `json:"content_block"` // content_block_start
	Delta   struct {
		Type    string `json:"type"`
		Text    string `json:"text"`
		Partial string `json:"partial_json"`
		Stop    string `json:"stop_reason"` // message_delta
	} `json:"delta"`
	Usage json.RawMessage `json:"usage"` // message_delta
}

// stream collects the events of a streamed answer.
type stream struct {
	dec  ssestream.Decoder
	sink *upstream.Sink

	text    strings.Builder
	calls   []*pending
	stop    string
	counts  counts
	thought bool
}

// pending is a tool call whose input may not be complete yet.
type pending struct {
	index    int
	id, name string
	whole    json.RawMessage // the input, where it came with the start
	input    strings.Builder
}

// read reads until message_stop. An answer whose stream ends before is cut,
// whatever it said of its end.
func (s *stream) read() (*upstream.Reply, error) {
	s.counts = newCounts()
	for s.dec.Next() {
		done, err := s.event(s.dec.Event().Data)
		if err != nil {
			return nil, fmt.Errorf("read stream: %w", err)
		}
		if done {
			return s.reply()
		}
	}
	if err := s.dec.Err(); err != nil {
		return nil, fmt.Errorf("read stream: %w", err)
	}
	return nil, errors.New("read stream: it ended before the answer did")
}

func (s *stream) event(data []byte) (done bool, err error) {
	if data = bytes.TrimSpace(data); len(data) == 0 {
		return false, nil
	}
	var e event
	if err := json.Unmarshal(data, &e); err != nil {
		return false, fmt.Errorf("decode event: %w", err)
	}
	switch e.Type {
	case "error":
		return false, reported(data)
	case "message_start":
		s.counts = s.counts.with(e.Message.Usage)
	case "content_block_start":
		err = s.start(&e)
	case "content_block_delta":
		err = s.add(&e)
	case "message_delta":
		s.counts = s.counts.with(e.Usage)
		if e.Delta.Stop != "" && s.stop == "" {
			s.stop = e.Delta.Stop
			s.sink.End()
		}
	case "message_stop":
		return true, nil
	}
	return false, err // pings, the ends of blocks, and what may still be invented
}

func (s *stream) start(e *event) error {
	switch e.Block.Type {
	case "text":
		s.say(e.Block.Text)
	case "tool_use":
		if len(s.calls) == upstream.MaxCalls {
			return upstream.ErrCalls
		}
		s.sink.Token()
		s.calls = append(s.calls, &pending{index: e.Index, id: e.Block.ID, name: e.Block.Name, whole: e.Block.Input})
	case "thinking", "redacted_thinking":
		s.sink.Token()
		s.thought = true
	}
	return nil
}

func (s *stream) add(e *event) error {
	switch e.Delta.Type {
	case "text_delta":
		s.say(e.Delta.Text)
	case "thinking_delta":
		s.sink.Token()
		s.thought = true
	case "input_json_delta":
		if len(s.calls) == 0 || s.calls[len(s.calls)-1].index != e.Index {
			return errors.New("a piece of input belongs to no tool call")
		}
		s.sink.Token()
		s.calls[len(s.calls)-1].input.WriteString(e.Delta.Partial)
	}
	return nil
}

func (s *stream) say(text string) {
	s.text.WriteString(text)
	s.sink.Piece(text)
}

func (s *stream) reply() (*upstream.Reply, error) {
	r := &upstream.Reply{Text: s.text.String(), Usage: s.counts.usage(), Thought: s.thought}
	for _, p := range s.calls {
		call := contracts.ToolCall{ID: p.id, Name: p.name, Arguments: p.input.String()}
		if call.Arguments == "" {
			call.Arguments = compact(p.whole)
		}
		r.Calls = append(r.Calls, call)
	}
	return conclude(r, s.stop)
}
