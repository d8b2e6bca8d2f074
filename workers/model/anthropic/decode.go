package anthropic

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/anthropics/anthropic-sdk-go/packages/ssestream"

	"moltbot/contracts"
	"moltbot/workers/model"
	"moltbot/workers/model/upstream"
)

// message is an answer in one piece, or its beginning in a stream.
type message struct {
	Type    string          `json:"type"`
	Content []content       `json:"content"`
	Stop    string          `json:"stop_reason"`
	Usage   json.RawMessage `json:"usage"` // read leniently: it never spoils an answer
}

// content is a block of an answer. Those of other types, such as thinking, are
// not shown.
type content struct {
	Type  string          `json:"type"`
	Text  string          `json:"text"`
	ID    string          `json:"id"`
	Name  string          `json:"name"`
	Input json.RawMessage `json:"input"`
}

var errName = errors.New("decode answer: a tool call has no id or no name")

// Read decodes an answer in pieces or in one.
func (w *wire) Read(res *http.Response, sink *upstream.Sink) (*upstream.Reply, error) {
	if sink.Streamed {
		s := &stream{dec: ssestream.NewDecoder(res), sink: sink}
		return s.read()
	}
	return readPlain(res.Body)
}

func readPlain(r io.Reader) (*upstream.Reply, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	var m message
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("decode answer: %w", err)
	}
	switch m.Type {
	case "error":
		return nil, reported(b)
	case "message":
	default:
		return nil, errors.New("decode answer: it is no message")
	}
	var text strings.Builder
	out := &upstream.Reply{}
	for i := range m.Content {
		c := &m.Content[i]
		switch c.Type {
		case "text":
			text.WriteString(c.Text)
		case "tool_use":
			out.Calls = append(out.Calls, contracts.ToolCall{ID: c.ID, Name: c.Name, Arguments: compact(c.Input)})
		case "thinking", "redacted_thinking":
			out.Thought = true
		}
	}
	out.Text = text.String()
	out.Usage = newCounts().with(m.Usage).usage()
	return conclude(out, m.Stop)
}

func compact(input json.RawMessage) string {
	var b bytes.Buffer
	if len(input) == 0 || json.Compact(&b, input) != nil {
		return "{}"
	}
	return b.String()
}

// conclude checks the tool calls and maps why the answer ended.
func conclude(r *upstream.Reply, reason string) (*upstream.Reply, error) {
	if len(r.Calls) > upstream.MaxCalls {
		return nil, upstream.ErrCalls
	}
	for _, c := range r.Calls {
		if c.ID == "" || c.Name == "" {
			return nil, errName
		}
	}
	switch reason {
	case "":
		return nil, errors.New("decode answer: it says not why it ended")
	case "refusal":
		return nil, upstream.ErrFiltered
	case "max_tokens", "model_context_window_exceeded":
		r.Finish = model.FinishLength
	case "tool_use":
		r.Finish = model.FinishTools
	default: // end_turn, stop_sequence, and what may still be invented
		r.Finish = model.FinishStop
	}
	return r, nil
}

// reported gives an error in the body of a 200 the status it would have had before it.
func reported(body []byte) error {
	var e struct {
		Error struct {
			Type string `json:"type"`
		} `json:"error"`
	}
	_ = json.Unmarshal(body, &e) // else the status is not known
	r := upstream.Reported(body)
	switch e.Error.Type {
	case "invalid_request_error":
		return r.WithStatus(http.StatusBadRequest)
	case "authentication_error":
		return r.WithStatus(http.StatusUnauthorized)
	case "permission_error":
		return r.WithStatus(http.StatusForbidden)
	case "not_found_error":
		return r.WithStatus(http.StatusNotFound)
	case "rate_limit_error":
		return r.WithStatus(http.StatusTooManyRequests)
	case "overloaded_error":
		const overloaded = 529
		return r.WithStatus(overloaded)
	}
	return r
}
