package openai

import (
	"cmp"
	"encoding/json"

	"moltbot/contracts"
	"moltbot/workers/model"
)

// wireRequest is a chat completion request as far as we send it. Encoding it is
// cheap in time and, unlike the SDK's parameters, in stack, of which every slot
// would keep the most it ever needed.
type wireRequest struct {
	Model       string        `json:"model"`
	Messages    []wireMessage `json:"messages"`
	User        string        `json:"user,omitempty"`
	Temperature *float64      `json:"temperature,omitempty"`
	TopP        *float64      `json:"top_p,omitempty"`
	// One of the two: OpenAI itself wants the second, the others know only the first.
	MaxTokens           int             `json:"max_tokens,omitempty"`
	MaxCompletionTokens int             `json:"max_completion_tokens,omitempty"`
	Stop                []string        `json:"stop,omitempty"`
	Seed                *int64          `json:"seed,omitempty"`
	PresencePenalty     *float64        `json:"presence_penalty,omitempty"`
	FrequencyPenalty    *float64        `json:"frequency_penalty,omitempty"`
	ReasoningEffort     string          `json:"reasoning_effort,omitempty"`
	ResponseFormat      json.RawMessage `json:"response_format,omitempty"`
	Tools               json.RawMessage `json:"tools,omitempty"`
	ToolChoice          json.RawMessage `json:"tool_choice,omitempty"`
	ParallelTools       *bool           `json:"parallel_tool_calls,omitempty"`
	Stream              bool            `json:"stream,omitempty"`
	StreamOptions       *wireOptions    `json:"stream_options,omitempty"`
}

type wireMessage struct {
	Role       contracts.Role `json:"role"`
	Content    any            `json:"content"` // *string, []wirePart, or nil beside tool calls
	Name       string         `json:"name,omitempty"`
	ToolCalls  []wireCall     `json:"tool_calls,omitempty"`
	ToolCallID string         `json:"tool_call_id,omitempty"`
}

type wirePart struct {
	Type  string     `json:"type"`
	Text  string     `json:"text,omitempty"`
	Image *wireImage `json:"image_url,omitempty"`
}

type wireImage struct {
	URL    string `json:"url"`
	Detail string `json:"detail,omitempty"`
}

type wireCall struct {
	// Index is only in the pieces of a stream, and not with every provider.
	Index    *int         `json:"index,omitempty"`
	ID       string       `json:"id"`
	Type     string       `json:"type"`
	Function wireFunction `json:"function"`
}

type wireFunction struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

type wireOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

// Encode gives the body of the request. What the client chose wins over what is
// configured.
func (w *wire) Encode(name string, r *model.Request) ([]byte, error) {
	p := &r.Params
	q := &wireRequest{
		Model: name, Messages: make([]wireMessage, len(r.Messages)), User: r.User, Temperature: p.Temperature, TopP: p.TopP,
		Stop: p.Stop, Seed: p.Seed, PresencePenalty: p.PresencePenalty, FrequencyPenalty: p.FrequencyPenalty,
		ReasoningEffort: p.ReasoningEffort, ResponseFormat: p.ResponseFormat,
		Tools: p.Tools, ToolChoice: p.ToolChoice, ParallelTools: p.ParallelTools,
	}
	for i := range r.Messages {
		q.Messages[i].fill(&r.Messages[i])
	}
	if q.Temperature == nil {
		q.Temperature = w.opts.Temperature
	}
	if limit := cmp.Or(p.MaxTokens, w.opts.MaxTokens); w.newLimit {
		q.MaxCompletionTokens = limit
	} else {
		q.MaxTokens = limit
	}
	if w.opts.Stream {
		q.Stream, q.StreamOptions = true, &wireOptions{IncludeUsage: true}
	}
	return json.Marshal(q)
}

func (w *wireMessage) fill(m *model.Message) {
	w.Role, w.Name, w.ToolCallID = m.Role, m.Name, m.ToolCallID
	switch {
	case len(m.Parts) > 0:
		w.Content = parts(m)
	case m.Text != "" || len(m.ToolCalls) == 0:
		w.Content = &m.Text
	}
	for _, c := range m.ToolCalls {
		w.ToolCalls = append(w.ToolCalls, wireCall{ID: c.ID, Type: "function", Function: wireFunction{c.Name, c.Arguments}})
	}
}

func parts(m *model.Message) []wirePart {
	all := make([]wirePart, 0, 1+len(m.Parts))
	if m.Text != "" {
		all = append(all, wirePart{Type: "text", Text: m.Text})
	}
	for _, p := range m.Parts {
		if p.Text != "" {
			all = append(all, wirePart{Type: "text", Text: p.Text})
		}
		if p.Image != "" {
			all = append(all, wirePart{Type: "image_url", Image: &wireImage{p.Image, p.Detail}})
		}
	}
	return all
}
