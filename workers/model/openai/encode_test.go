package openai

import (
	"encoding/json"
	"testing"

	"moltbot/contracts"
	"moltbot/workers/model"
)

func TestEncode(t *testing.T) {
	zero := 0.0
	r := &model.Request{
		Messages: []model.Message{{Role: model.RoleSystem, Text: "be\nkind"}, {Role: model.RoleUser, Text: "\"你好\" \xff"}, {Role: model.RoleAssistant, Text: ""}}, User: "u",
	}
	const messages = `"messages":[{"role":"system","content":"be\nkind"},{"role":"user","content":"\"你好\" \ufffd"},{"role":"assistant","content":""}],"user":"u"`
	for name, c := range map[string]struct {
		with wire
		want string
	}{
		"bare":    {wire{opts: &Options{}}, `{"model":"m",` + messages + `}`},
		"limited": {wire{opts: &Options{MaxTokens: 7, Temperature: &zero}}, `{"model":"m",` + messages + `,"temperature":0,"max_tokens":7}`},
		"OpenAI":  {wire{opts: &Options{MaxTokens: 7}, newLimit: true}, `{"model":"m",` + messages + `,"max_completion_tokens":7}`},
		"streamed": {
			wire{opts: &Options{Stream: true}}, `{"model":"m",` + messages + `,"stream":true,"stream_options":{"include_usage":true}}`,
		},
	} {
		got, err := c.with.Encode("m", r)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %s, %v, want %s", name, got, err, c.want)
		}
	}
}

// Whatever the client chose goes out, and wins over what is configured.
func TestEncodeParams(t *testing.T) {
	w := wire{opts: &Options{MaxTokens: 7, Temperature: new(0.7)}}
	got, err := w.Encode("m", &model.Request{
		Messages: []model.Message{{Role: model.RoleUser, Text: "hi"}},
		Params: contracts.Params{
			Temperature: new(0.0), TopP: new(0.5), MaxTokens: 9, Stop: []string{"a", "b"}, Seed: new(int64(-3)),
			PresencePenalty: new(1.0), FrequencyPenalty: new(-1.0), ReasoningEffort: "low",
			ResponseFormat: json.RawMessage(`{"type":"json_object"}`), Tools: json.RawMessage(`[{"type":"function","x":1}]`),
			ToolChoice: json.RawMessage(`"auto"`), ParallelTools: new(false),
		},
	})
	const want = `{"model":"m","messages":[{"role":"user","content":"hi"}],"temperature":0,"top_p":0.5,"max_tokens":9,"stop":["a","b"],"seed":-3,` +
		`"presence_penalty":1,"frequency_penalty":-1,"reasoning_effort":"low","response_format":{"type":"json_object"},` +
		`"tools":[{"type":"function","x":1}],"tool_choice":"auto","parallel_tool_calls":false}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
}

func TestEncodeMessages(t *testing.T) {
	w := wire{opts: &Options{}}
	for name, c := range map[string]struct {
		message model.Message
		want    string
	}{
		"parts": {
			model.Message{Role: model.RoleUser, Name: "ann", Parts: []contracts.PromptPart{
				{Text: "what is it?"}, {Image: "https://h/i.png", Detail: "low"}, {Image: "data:image/png;base64,AA=="},
			}},
			`{"role":"user","content":[{"type":"text","text":"what is it?"},{"type":"image_url","image_url":{"url":"https://h/i.png","detail":"low"}},` +
				`{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}],"name":"ann"}`,
		},
		"calls": {
			model.Message{Role: model.RoleAssistant, ToolCalls: []contracts.ToolCall{{ID: "c1", Name: "f", Arguments: `{"a":1}`}}},
			`{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]}`,
		},
		"calls and a text": {
			model.Message{Role: model.RoleAssistant, Text: "so", ToolCalls: []contracts.ToolCall{{ID: "c1", Name: "f"}}},
			`{"role":"assistant","content":"so","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":""}}]}`,
		},
		"result": {
			model.Message{Role: model.RoleTool, Text: "7", ToolCallID: "c1"}, `{"role":"tool","content":"7","tool_call_id":"c1"}`,
		},
	} {
		got, err := w.Encode("m", &model.Request{Messages: []model.Message{c.message}})
		if want := `{"model":"m","messages":[` + c.want + `]}`; err != nil || string(got) != want {
			t.Errorf("%s: %s, %v, want %s", name, got, err, want)
		}
	}
}
