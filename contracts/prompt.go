package contracts

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Role says who wrote a message of a prompt.
type Role string

// The roles of a prompt.
const (
	RoleSystem    Role = "system"
	RoleUser      Role = "user"
	RoleAssistant Role = "assistant"
	RoleTool      Role = "tool" // what a tool that the model called gave back
)

// PromptMessage is one message of a prompt.
type PromptMessage struct {
	Role Role   `json:"role"`
	Text string `json:"text,omitempty"`
	// Parts, where the message is more than a text: texts and images in order.
	Parts []PromptPart `json:"parts,omitempty"`
	Name  string       `json:"name,omitempty"` // of its writer, among several of one role
	// ToolCalls are what the assistant wanted called; ToolCallID says which of
	// them a message of RoleTool answers.
	ToolCalls  []ToolCall `json:"tool_calls,omitempty"`
	ToolCallID string     `json:"tool_call_id,omitempty"`
	// Keep says that it goes last where a prompt has to be shortened. No client sets it.
	Keep bool `json:"-"`
}

// PromptPart is a text or an image.
type PromptPart struct {
	Text string `json:"text,omitempty"`
	// Image is an https URL, or a data URL with the image itself.
	Image  string `json:"image,omitempty"`
	Detail string `json:"detail,omitempty"` // low, high or auto: how closely to look
}

// ToolCall is a call of a function that the model asks its client to make.
type ToolCall struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Arguments string `json:"arguments"` // JSON as the model wrote it: it need not be valid
}

// Params are what a client chose of how the answer is made. What is nil or empty
// was not chosen. Raw values are passed on as they came, to providers that take them.
type Params struct {
	Temperature      *float64        `json:"temperature,omitempty"`
	TopP             *float64        `json:"top_p,omitempty"`
	MaxTokens        int             `json:"max_tokens,omitempty"`
	Stop             []string        `json:"stop,omitempty"`
	Seed             *int64          `json:"seed,omitempty"`
	PresencePenalty  *float64        `json:"presence_penalty,omitempty"`
	FrequencyPenalty *float64        `json:"frequency_penalty,omitempty"`
	ReasoningEffort  string          `json:"reasoning_effort,omitempty"`
	ResponseFormat   json.RawMessage `json:"response_format,omitempty"`
	Tools            json.RawMessage `json:"tools,omitempty"`
	ToolChoice       json.RawMessage `json:"tool_choice,omitempty"`
	ParallelTools    *bool           `json:"parallel_tool_calls,omitempty"`
}

// EncodePrompt gives the form in which a prompt travels in a Message.
func EncodePrompt(messages []PromptMessage) (string, error) { return encodeText(messages, "prompt") }

// DecodePrompt reads what EncodePrompt wrote.
func DecodePrompt(s string) (messages []PromptMessage, err error) {
	if err := json.Unmarshal([]byte(s), &messages); err != nil {
		return nil, fmt.Errorf("decode prompt: %w", err)
	}
	return messages, nil
}

// EncodeParams gives the form in which p travels in a Message.
func EncodeParams(p Params) (string, error) { return encodeText(p, "params") }

// DecodeParams reads what EncodeParams wrote. Nothing gives no choice.
func DecodeParams(s string) (p Params, err error) {
	if s == "" {
		return Params{}, nil
	}
	if err := json.Unmarshal([]byte(s), &p); err != nil {
		return Params{}, fmt.Errorf("decode params: %w", err)
	}
	return p, nil
}

// encodeText leaves <, > and & as they are: escaped they are six times as long,
// and what fits into a request is to fit into the queue.
func encodeText(v any, what string) (string, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "", fmt.Errorf("encode %s: %w", what, err)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

func encodeToolCalls(calls []ToolCall) string {
	if len(calls) == 0 {
		return ""
	}
	b, _ := json.Marshal(calls) // cannot fail: three texts each
	return string(b)
}

func decodeToolCalls(s string) (calls []ToolCall, err error) {
	if s == "" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(s), &calls); err != nil || encodeToolCalls(calls) != s {
		return nil, errFields
	}
	return calls, nil
}
