package anthropic

import (
	"encoding/json"

	"moltbot/workers/model/upstream"
)

// counts are the parts of a usage, of which a stream brings some at its
// beginning and some at its end; -1 is not known.
type counts struct{ input, written, cached, output, thought int }

func newCounts() counts { return counts{-1, -1, -1, -1, -1} }

// with takes from raw what can be true of it.
func (c counts) with(raw json.RawMessage) counts {
	var u struct {
		Input   json.RawMessage `json:"input_tokens"`
		Written json.RawMessage `json:"cache_creation_input_tokens"`
		Cached  json.RawMessage `json:"cache_read_input_tokens"`
		Output  json.RawMessage `json:"output_tokens"`
		Details json.RawMessage `json:"output_tokens_details"`
	}
	if json.Unmarshal(raw, &u) != nil {
		return c
	}
	var details struct {
		Thinking json.RawMessage `json:"thinking_tokens"`
	}
	_ = json.Unmarshal(u.Details, &details) // optional
	for raw, count := range map[*json.RawMessage]*int{
		&u.Input: &c.input, &u.Written: &c.written, &u.Cached: &c.cached, &u.Output: &c.output, &details.Thinking: &c.thought,
	} {
		if n := upstream.Count(*raw); n >= 0 {
			*count = n
		}
	}
	return c
}

// usage counts what was read from the provider's cache or written to it as part
// of the prompt, as OpenAI does.
func (c counts) usage() upstream.Usage {
	u := upstream.Usage{Prompt: -1, Completion: c.output, Hidden: max(0, c.thought)}
	if c.input >= 0 {
		u.Prompt = c.input + max(0, c.written) + max(0, c.cached)
	}
	return u
}
