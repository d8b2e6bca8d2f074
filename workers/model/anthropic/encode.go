package anthropic

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"moltbot/workers/model"
	"moltbot/workers/model/upstream"
)

// defaultMaxTokens is asked for where nobody chose: the API takes no request without.
const defaultMaxTokens = 1024

// wireRequest is a request to the messages API as far as we send it: our own type
// for the reason the OpenAI one is.
type wireRequest struct {
	Model       string        `json:"model"`
	MaxTokens   int           `json:"max_tokens"`
	System      string        `json:"system,omitempty"`
	Messages    []wireMessage `json:"messages"`
	Temperature *float64      `json:"temperature,omitempty"`
	TopP        *float64      `json:"top_p,omitempty"`
	Stop        []string      `json:"stop_sequences,omitempty"`
	Tools       []wireTool    `json:"tools,omitempty"`
	ToolChoice  *wireChoice   `json:"tool_choice,omitempty"`
	Metadata    *wireMetadata `json:"metadata,omitempty"`
	Stream      bool          `json:"stream,omitempty"`
}

type wireMetadata struct {
	User string `json:"user_id"`
}

// Encode gives the body of the request. What the client chose wins over what is
// configured. What the API has no word for is left out: seed, penalties,
// reasoning effort, response format and the names of writers.
func (w *wire) Encode(name string, r *model.Request) ([]byte, error) {
	p := &r.Params
	q := &wireRequest{Model: name, MaxTokens: cmp.Or(p.MaxTokens, w.opts.MaxTokens, defaultMaxTokens), Stream: w.opts.Stream}
	if r.User != "" {
		q.Metadata = &wireMetadata{r.User}
	}
	for _, s := range p.Stop {
		if strings.TrimSpace(s) != "" { // the API refuses others
			q.Stop = append(q.Stop, s)
		}
	}
	q.Temperature, q.TopP = w.sampling(p.Temperature, p.TopP)
	var err error
	if q.Tools, q.ToolChoice, err = tools(p); err != nil {
		return nil, err
	}
	if q.System, q.Messages, err = talk(r.Messages); err != nil {
		return nil, err
	}
	return json.Marshal(q)
}

// sampling gives one of the two: newer models refuse a request with both. The
// client's temperature wins over its top_p, and either over the configured one.
func (w *wire) sampling(temperature, topP *float64) (*float64, *float64) {
	switch {
	case temperature == nil && topP != nil:
		return nil, topP
	case temperature == nil:
		temperature = w.opts.Temperature
	}
	if temperature == nil {
		return nil, nil
	}
	t := min(max(*temperature, 0), 1)
	return &t, nil
}

func unfit(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{upstream.ErrRequest}, args...)...)
}
