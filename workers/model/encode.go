package model

import (
	"encoding/json"

	"moltbot/contracts"
)

// wireRequest is a chat completion request as far as we send it. Encoding it is
// cheap in time and, unlike the SDK's parameters, in stack, of which every slot
// would keep the most it ever needed.
type wireRequest struct {
	Model       string        `json:"model"`
	Messages    []wireMessage `json:"messages"`
	User        string        `json:"user,omitempty"`
	Temperature *float64      `json:"temperature,omitempty"`
	// One of the two: OpenAI itself wants the second, the others know only the first.
	MaxTokens           int          `json:"max_tokens,omitempty"`
	MaxCompletionTokens int          `json:"max_completion_tokens,omitempty"`
	Stream              bool         `json:"stream,omitempty"`
	StreamOptions       *wireOptions `json:"stream_options,omitempty"`
}

type wireMessage struct {
	Role    contracts.Role `json:"role"`
	Content string         `json:"content"`
}

type wireOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

// encode gives the body of the request that asks for name.
func (c *OpenAI) encode(name string, r Request) ([]byte, error) {
	w := &wireRequest{Model: name, Messages: make([]wireMessage, len(r.Messages)), User: r.User, Temperature: c.opts.Temperature}
	for i, m := range r.Messages {
		w.Messages[i] = wireMessage{m.Role, m.Text}
	}
	if c.newLimit {
		w.MaxCompletionTokens = c.opts.MaxTokens
	} else {
		w.MaxTokens = c.opts.MaxTokens
	}
	if c.opts.Stream {
		w.Stream, w.StreamOptions = true, &wireOptions{IncludeUsage: true}
	}
	return json.Marshal(w)
}
