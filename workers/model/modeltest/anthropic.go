package modeltest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

const anthropicPath = "/messages"

// anthropic writes messages.
func anthropic() dialect {
	return dialect{
		document: anthropicDocument, opening: anthropicOpening, delta: anthropicDelta, calls: anthropicCalls, finishing: anthropicFinishing, failure: anthropicFailure,
		terminator: anthropicEvent("message_stop", ""),
		giant:      `{"type":"message","content":[{"type":"text","text":"`,
	}
}

// stopReason is the finish reason in Anthropic's words; others stay as they are.
func stopReason(x *exchange) string {
	switch reason := x.finish(); reason {
	case "stop":
		return "end_turn"
	case "length":
		return "max_tokens"
	case "tool_calls":
		return "tool_use"
	case "content_filter":
		return "refusal"
	default:
		return reason
	}
}

func anthropicDocument(x *exchange, text string) string {
	var blocks []string
	if text != "" {
		blocks = append(blocks, `{"type":"text","text":`+quote(text)+`}`)
	}
	for _, c := range x.b.Calls {
		blocks = append(blocks, fmt.Sprintf(`{"type":"tool_use","id":%s,"name":%s,"input":%s}`, quote(c.ID), quote(c.Name), c.Arguments))
	}
	return fmt.Sprintf(`{"id":"msg_test","type":"message","role":"assistant","model":%s,"content":[%s],"stop_reason":%s,"stop_sequence":null%s}`,
		quote(x.req.Model), strings.Join(blocks, ","), quote(stopReason(x)), anthropicUsage(x, text))
}

func anthropicUsage(x *exchange, text string) string {
	switch x.b.Usage {
	case "none":
		return ""
	case "":
		return fmt.Sprintf(`,"usage":{"input_tokens":%d,"output_tokens":%d}`, x.req.length(), utf8.RuneCountInString(text))
	}
	return `,"usage":` + x.b.Usage
}

func anthropicEvent(kind, rest string) string {
	return "event: " + kind + "\ndata: {\"type\":" + quote(kind) + rest + "}\n\n"
}

func anthropicOpening(x *exchange) string {
	return anthropicEvent("message_start", fmt.Sprintf(`,"message":{"id":"msg_test","type":"message","role":"assistant","model":%s,"content":[],"stop_reason":null%s}`,
		quote(x.req.Model), anthropicUsage(x, ""))) +
		anthropicEvent("content_block_start", `,"index":0,"content_block":{"type":"text","text":""}`) +
		anthropicEvent("ping", "")
}

func anthropicDelta(_ *exchange, text string) string {
	return anthropicEvent("content_block_delta", `,"index":0,"delta":{"type":"text_delta","text":`+quote(text)+`}`)
}

func anthropicCalls(x *exchange) []string {
	var all []string
	for i, c := range x.b.Calls {
		index := x.b.At + 1 + i
		all = append(all, anthropicEvent("content_block_start",
			fmt.Sprintf(`,"index":%d,"content_block":{"type":"tool_use","id":%s,"name":%s,"input":{}}`, index, quote(c.ID), quote(c.Name))))
		for piece, rest := cut(c.Arguments); piece != ""; piece, rest = cut(rest) {
			all = append(all, anthropicEvent("content_block_delta",
				fmt.Sprintf(`,"index":%d,"delta":{"type":"input_json_delta","partial_json":%s}`, index, quote(piece))))
		}
		all = append(all, anthropicEvent("content_block_stop", fmt.Sprintf(`,"index":%d`, index)))
	}
	return all
}

func anthropicFinishing(x *exchange, text string) string {
	return anthropicEvent("message_delta", `,"delta":{"stop_reason":`+quote(stopReason(x))+`,"stop_sequence":null}`+anthropicUsage(x, text))
}

func anthropicFailure(kind, message string) string {
	return fmt.Sprintf(`{"type":"error","error":{"type":%s,"message":%s}}`, quote(kind), quote(message))
}

// errorType is what the error of a status is called; both protocols have most of
// the names in common.
func errorType(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "authentication_error"
	case http.StatusForbidden:
		return "permission_error"
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusTooManyRequests:
		return "rate_limit_error"
	case 529:
		return "overloaded_error"
	}
	if status >= 500 {
		return "api_error"
	}
	return "invalid_request_error"
}

// anthropicRequest is everything that may stand in a request of ours: the API
// refuses what it does not know.
type anthropicRequest struct {
	Model       string             `json:"model"`
	MaxTokens   int                `json:"max_tokens"`
	System      string             `json:"system"`
	Messages    []anthropicMessage `json:"messages"`
	Temperature *float64           `json:"temperature"`
	TopP        *float64           `json:"top_p"`
	Stop        []string           `json:"stop_sequences"`
	Stream      bool               `json:"stream"`
	Tools       []struct {
		Name        string                     `json:"name"`
		Description string                     `json:"description"`
		Schema      map[string]json.RawMessage `json:"input_schema"`
	} `json:"tools"`
	Choice *struct {
		Type  string `json:"type"`
		Name  string `json:"name"`
		Alone bool   `json:"disable_parallel_tool_use"`
	} `json:"tool_choice"`
	Metadata *struct {
		User string `json:"user_id"`
	} `json:"metadata"`
}

type anthropicMessage struct {
	Role    string           `json:"role"`
	Content []anthropicBlock `json:"content"`
}

type anthropicBlock struct {
	Type   string `json:"type"`
	Text   string `json:"text"`
	Source *struct {
		Type      string `json:"type"`
		URL       string `json:"url"`
		MediaType string `json:"media_type"`
		Data      []byte `json:"data"`
	} `json:"source"`
	ID        string                     `json:"id"`
	Name      string                     `json:"name"`
	Input     map[string]json.RawMessage `json:"input"`
	ToolUseID string                     `json:"tool_use_id"`
	Content   []anthropicBlock           `json:"content"`
}

// anthropicFault says what Anthropic would not accept about the request.
func anthropicFault(r *http.Request, body []byte) string {
	var q anthropicRequest
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil {
		return err.Error()
	}
	switch {
	case r.Header.Get("X-Api-Key") == "" || r.Header.Get("Authorization") != "":
		return "x-api-key is required, and nothing else"
	case r.Header.Get("Anthropic-Version") != "2023-06-01":
		return "anthropic-version is required"
	case q.Model == "" || len(q.Messages) == 0 || q.MaxTokens < 1:
		return "model, messages and max_tokens are required"
	case q.Temperature != nil && (*q.Temperature < 0 || *q.Temperature > 1):
		return "temperature: must be in 0..1"
	case q.Temperature != nil && q.TopP != nil:
		return "temperature and top_p cannot both be specified"
	case slices.ContainsFunc(q.Stop, func(s string) bool { return strings.TrimSpace(s) == "" }):
		return "stop_sequences: each must contain non-whitespace"
	case q.Choice != nil && (len(q.Tools) == 0 || !slices.Contains([]string{"auto", "any", "tool", "none"}, q.Choice.Type)):
		return "tool_choice: unknown, or without tools"
	}
	for i, t := range q.Tools {
		if t.Name == "" || string(t.Schema["type"]) != `"object"` {
			return fmt.Sprintf("tools.%d: name and input_schema are required", i)
		}
	}
	return turnsFault(q.Messages)
}

func turnsFault(turns []anthropicMessage) string {
	called := map[string]bool{}
	for i, m := range turns {
		if want := [2]string{"user", "assistant"}[i%2]; m.Role != want {
			return fmt.Sprintf("messages.%d: role %q, want %q", i, m.Role, want)
		}
		if len(m.Content) == 0 {
			return fmt.Sprintf("messages.%d: content is empty", i)
		}
		for _, b := range m.Content {
			if fault := b.fault(called); fault != "" {
				return fmt.Sprintf("messages.%d: %s", i, fault)
			}
		}
	}
	return ""
}

func (b anthropicBlock) fault(called map[string]bool) string {
	switch b.Type {
	case "text":
		if strings.TrimSpace(b.Text) == "" {
			return "text is empty"
		}
	case "image":
		switch {
		case b.Source == nil:
			return "image without source"
		case b.Source.Type == "url" && strings.HasPrefix(b.Source.URL, "https://"):
		case b.Source.Type == "base64" && strings.HasPrefix(b.Source.MediaType, "image/") && len(b.Source.Data) > 0:
		default:
			return "image source is neither"
		}
	case "tool_use":
		if b.ID == "" || b.Name == "" || b.Input == nil {
			return "tool_use needs id, name and input"
		}
		called[b.ID] = true
	case "tool_result":
		if !called[b.ToolUseID] {
			return "tool_result without its tool_use"
		}
		for _, c := range b.Content {
			if fault := c.fault(called); fault != "" {
				return fault
			}
		}
	default:
		return "block of type " + b.Type
	}
	return ""
}
