package ingress

import (
	"bytes"
	"fmt"
	"math"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"moltbot/contracts"
)

// completionRequest is what we heed of the body of POST /v1/chat/completions.
// Unknown members are ignored, as clients of that API expect; a member given
// twice is refused, because two readers could take it for two things.
type completionRequest struct {
	Model               string              `json:"model"`
	Messages            []completionMessage `json:"messages"`
	Temperature         *float64            `json:"temperature"`
	TopP                *float64            `json:"top_p"`
	MaxTokens           *int64              `json:"max_tokens"`
	MaxCompletionTokens *int64              `json:"max_completion_tokens"`
	Stop                jsontext.Value      `json:"stop"`
	Seed                *int64              `json:"seed"`
	PresencePenalty     *float64            `json:"presence_penalty"`
	FrequencyPenalty    *float64            `json:"frequency_penalty"`
	ReasoningEffort     string              `json:"reasoning_effort"`
	ResponseFormat      jsontext.Value      `json:"response_format"`
	Tools               jsontext.Value      `json:"tools"`
	ToolChoice          jsontext.Value      `json:"tool_choice"`
	ParallelToolCalls   *bool               `json:"parallel_tool_calls"`
	Functions           jsontext.Value      `json:"functions"`
	FunctionCall        jsontext.Value      `json:"function_call"`
	N                   *int64              `json:"n"`
	Stream              bool                `json:"stream"`
	StreamOptions       struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	Cache *bool `json:"cache"` // ours: false wants a fresh answer
}

// Limits of a request beside the size of its body.
const (
	maxOpenAIDepth = 64 // schemas of tools are deep
	maxMessages    = 1024
	maxTools       = 128
	maxStops       = 4
	maxStop        = 512       // bytes
	maxRaw         = 256 << 10 // bytes of what is passed on as it came
	maxAnswer      = 1 << 24   // tokens; only to keep the number sane
)

var effortForm = regexp.MustCompile(`^[a-z]{1,16}$`)

// misfit is a refusal that names the member of the request it is about.
type misfit struct {
	param string
	cause *contracts.Error
}

func (m *misfit) Error() string { return m.cause.Error() }
func (m *misfit) Unwrap() error { return m.cause }

func misfitting(param, format string, args ...any) error {
	return &misfit{param, fail(contracts.CodeBadRequest, fmt.Sprintf(format, args...))}
}

// decodeLenient reads a body and checks what does not need to be converted.
func decodeLenient(body []byte) (*completionRequest, error) {
	if err := checkForm(body, maxOpenAIDepth); err != nil {
		return nil, err
	}
	var r completionRequest
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, &misfit{paramOf(err), fail(contracts.CodeBadRequest, describe(body, err))}
	}
	switch {
	case r.Model == "":
		return nil, misfitting("model", "you must provide a model parameter; GET /v1/models lists the models")
	case given(r.Functions) || given(r.FunctionCall):
		return nil, misfitting("functions", "functions and function_call are not supported, use tools and tool_choice")
	case r.N != nil && *r.N != 1:
		return nil, misfitting("n", "only n = 1 is supported")
	}
	return &r, nil
}

// paramOf names the member that could not be decoded as that API does.
func paramOf(err error) string {
	semantic, ok := err.(*json.SemanticError)
	if !ok {
		return ""
	}
	var b strings.Builder
	for token := range semantic.JSONPointer.Tokens() {
		switch {
		case token != "" && strings.Trim(token, "0123456789") == "":
			b.WriteString("[" + token + "]")
		case b.Len() > 0:
			b.WriteString("." + token)
		default:
			b.WriteString(token)
		}
	}
	return clip(b.String(), 64)
}

// given reports whether a raw member is there and is not null.
func given(v jsontext.Value) bool { return len(v) > 0 && v.Kind() != jsontext.KindNull }

// params are what the client chose of how the answer is made.
func (r *completionRequest) params() (p contracts.Params, err error) {
	p = contracts.Params{
		Temperature: r.Temperature, TopP: r.TopP, Seed: r.Seed, PresencePenalty: r.PresencePenalty,
		FrequencyPenalty: r.FrequencyPenalty, ReasoningEffort: r.ReasoningEffort, ParallelTools: r.ParallelToolCalls,
	}
	for _, n := range []struct {
		name      string
		value     *float64
		low, high float64
	}{
		{"temperature", r.Temperature, 0, 2}, {"top_p", r.TopP, 0, 1},
		{"presence_penalty", r.PresencePenalty, -2, 2}, {"frequency_penalty", r.FrequencyPenalty, -2, 2},
	} {
		if n.value != nil && !(*n.value >= n.low && *n.value <= n.high) {
			return p, misfitting(n.name, "%s must be from %v to %v", n.name, n.low, n.high)
		}
	}
	if r.ReasoningEffort != "" && !effortForm.MatchString(r.ReasoningEffort) {
		return p, misfitting("reasoning_effort", "reasoning_effort must be a word such as low, medium or high")
	}
	if p.MaxTokens, err = r.maxTokens(); err != nil {
		return p, err
	}
	if p.Stop, err = stops(r.Stop); err != nil {
		return p, err
	}
	return p, r.raw(&p)
}

// maxTokens is the newer of the two limits where both are given.
func (r *completionRequest) maxTokens() (int, error) {
	name, n := "max_completion_tokens", r.MaxCompletionTokens
	if n == nil {
		name, n = "max_tokens", r.MaxTokens
	}
	if n == nil {
		return 0, nil
	}
	if *n < 1 || *n > math.MaxInt32 {
		return 0, misfitting(name, "%s must be at least 1", name)
	}
	return int(min(*n, maxAnswer)), nil
}

func stops(v jsontext.Value) (all []string, err error) {
	if !given(v) {
		return nil, nil
	}
	if v.Kind() == jsontext.KindString {
		all = make([]string, 1)
		err = json.Unmarshal(v, &all[0])
	} else {
		err = json.Unmarshal(v, &all)
	}
	if err != nil || len(all) > maxStops {
		return nil, misfitting("stop", "stop must be a string, or a list of up to %d", maxStops)
	}
	for _, s := range all {
		if s == "" || len(s) > maxStop {
			return nil, misfitting("stop", "a stop sequence must have 1 to %d bytes", maxStop)
		}
	}
	return all, nil
}

// raw takes what is passed on as it came. That it is JSON is known already.
func (r *completionRequest) raw(p *contracts.Params) error {
	size := 0
	for _, v := range []jsontext.Value{r.ResponseFormat, r.Tools, r.ToolChoice} {
		size += len(v)
	}
	if size > maxRaw {
		return misfitting("tools", "tools, tool_choice and response_format have more than %d bytes together", maxRaw)
	}
	if given(r.ResponseFormat) {
		if r.ResponseFormat.Kind() != jsontext.KindBeginObject {
			return misfitting("response_format", "response_format must be an object")
		}
		p.ResponseFormat = compact(r.ResponseFormat)
	}
	if given(r.Tools) {
		n, err := functions(r.Tools)
		if err != nil {
			return err
		}
		if n > 0 { // an empty list is what some clients send for none
			p.Tools = compact(r.Tools)
		}
	}
	if given(r.ToolChoice) {
		if kind := r.ToolChoice.Kind(); kind != jsontext.KindBeginObject && kind != jsontext.KindString {
			return misfitting("tool_choice", "tool_choice must be a string or an object")
		}
		if p.Tools == nil && string(r.ToolChoice) != `"none"` && string(r.ToolChoice) != `"auto"` {
			return misfitting("tool_choice", "tool_choice is only allowed when tools are given")
		}
		if p.Tools != nil {
			p.ToolChoice = compact(r.ToolChoice)
		}
	}
	if p.Tools == nil {
		p.ParallelTools = nil // providers refuse it without tools
	}
	return nil
}

// functions counts the tools and refuses what no function is.
func functions(v jsontext.Value) (int, error) {
	var tools []struct {
		Type     string `json:"type"`
		Function struct {
			Name string `json:"name"`
		} `json:"function"`
	}
	if err := json.Unmarshal(v, &tools); err != nil || v.Kind() != jsontext.KindBeginArray {
		return 0, misfitting("tools", "tools must be a list of objects")
	}
	if len(tools) > maxTools {
		return 0, misfitting("tools", "at most %d tools are taken", maxTools)
	}
	for i, t := range tools {
		if t.Type != "function" || t.Function.Name == "" {
			return 0, misfitting(fmt.Sprintf("tools[%d]", i), `a tool must have the type "function" and a function with a name`)
		}
	}
	return len(tools), nil
}

func compact(v jsontext.Value) []byte {
	v = bytes.Clone(v)
	_ = v.Compact() // cannot fail: it was read before
	return v
}
