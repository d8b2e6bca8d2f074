package upstream_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"moltbot/contracts"
	"moltbot/workers/model"
	"moltbot/workers/model/modeltest"
	"moltbot/workers/model/upstream"
)

// answered asks with r, and gives the answer, what was shown, and the request.
func answered(t *testing.T, w way, o modeltest.Options, r model.Request) (model.Answer, string, modeltest.Request) {
	t.Helper()
	o.Key = canary
	s := modeltest.New(o)
	t.Cleanup(s.Close)
	var shown strings.Builder
	r.OnDelta = func(d string) { shown.WriteString(d) }
	a, err := w.connect(t, upstream.Options{Endpoint: s.URL, Model: "m1"}).Complete(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return a, shown.String(), s.Requests()[0]
}

func TestAnswer(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		r := prompt("你好")
		r.User = "u-hash"
		a, shown, got := answered(t, w, modeltest.Options{}, r)
		want := model.Answer{
			Text: "echo: 你好", Model: "m1", Version: "acme/m1", Finish: "stop", Usage: contracts.Usage{PromptTokens: 10, CompletionTokens: 8}, Tokens: 8,
		}
		if !w.openAI {
			want.Usage.PromptTokens = 2 // the system's text is no message there
		}
		if !reflect.DeepEqual(a, want) || shown != a.Text {
			t.Errorf("answer = %+v, want %+v; shown %q", a, want, shown)
		}
		if got.Stream != w.stream || got.Model != "m1" || !strings.Contains(got.Body, "be brief") || !strings.Contains(got.Body, "u-hash") {
			t.Errorf("request = %s", got.Body)
		}
	})
}

func weather() []modeltest.Call {
	return []modeltest.Call{
		{ID: "c1", Name: "weather", Arguments: `{"city":"Köln","days":[1,2]}`}, {ID: "c2", Name: "time", Arguments: `{}`},
	}
}

func TestToolCalls(t *testing.T) {
	want := []contracts.ToolCall{
		{ID: "c1", Name: "weather", Arguments: `{"city":"Köln","days":[1,2]}`}, {ID: "c2", Name: "time", Arguments: `{}`},
	}
	everyWay(t, func(t *testing.T, w way) {
		for _, text := range []string{"", "I look it up."} {
			a, shown, _ := answered(t, w, modeltest.Options{
				Reply: func(modeltest.Request) string { return text },
				Behave: func(modeltest.Request) modeltest.Behavior {
					return modeltest.Behavior{Calls: weather()}
				},
			}, prompt("hi"))
			if !reflect.DeepEqual(a.ToolCalls, want) || a.Finish != model.FinishTools || a.Text != text || shown != text || a.Tokens != 0 {
				t.Errorf("%q: answer = %+v, shown %q", text, a, shown)
			}
		}
	})
}

func TestTooManyToolCalls(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		for n, good := range map[int]bool{upstream.MaxCalls: true, upstream.MaxCalls + 1: false} {
			s := modeltest.New(modeltest.Options{Behave: func(modeltest.Request) modeltest.Behavior {
				b := modeltest.Behavior{}
				for i := range n {
					b.Calls = append(b.Calls, modeltest.Call{ID: fmt.Sprint("c", i), Name: "f", Arguments: "{}"})
				}
				return b
			}})
			a, err := w.connect(t, upstream.Options{Endpoint: s.URL}).Complete(t.Context(), prompt("hi"))
			s.Close()
			if (err == nil) != good || len(a.ToolCalls) != n*place(good) {
				t.Errorf("%d: %d calls, %v", n, len(a.ToolCalls), err)
			}
		}
	})
}

// A conversation with everything in it reaches either protocol as it wants it;
// the test provider refuses what is not so.
func TestTheWholeVocabulary(t *testing.T) {
	r := model.Request{
		Messages: []model.Message{
			{Role: model.RoleSystem, Text: "be brief"},
			{Role: model.RoleUser, Name: "ann", Parts: []contracts.PromptPart{
				{Text: "what is it?"}, {Image: "https://h/i.png", Detail: "low"}, {Image: "data:image/png;base64,AAAA"},
			}},
			{Role: model.RoleAssistant, ToolCalls: []contracts.ToolCall{{ID: "c1", Name: "look", Arguments: `{"at":1}`}, {ID: "c2", Name: "look", Arguments: "rubbish"}}},
			{Role: model.RoleTool, ToolCallID: "c1", Text: "a cat"},
			{Role: model.RoleTool, ToolCallID: "c2", Text: ""},
			{Role: model.RoleUser, Text: "so?"},
		},
		Params: contracts.Params{
			Temperature: new(1.5), MaxTokens: 33, Stop: []string{"END", " "}, Seed: new(int64(7)), PresencePenalty: new(0.1),
			ResponseFormat: json.RawMessage(`{"type":"json_object"}`),
			Tools:          json.RawMessage(`[{"type":"function","function":{"name":"look","description":"d","parameters":{"type":"object"},"strict":true}},{"type":"function","function":{"name":"rest"}}]`),
			ToolChoice:     json.RawMessage(`{"type":"function","function":{"name":"look"}}`), ParallelTools: new(false),
		},
	}
	everyWay(t, func(t *testing.T, w way) {
		_, _, got := answered(t, w, modeltest.Options{}, r)
		if got.MaxTokens != 33 || !strings.Contains(got.Body, "https://h/i.png") || !strings.Contains(got.Body, "AAAA") || !strings.Contains(got.Body, "a cat") {
			t.Errorf("request = %s", got.Body)
		}
	})
}

// What the environment says of either SDK does not matter, and nothing of the
// caller goes out.
func TestTheEnvironmentDoesNotMatter(t *testing.T) {
	for name, value := range map[string]string{
		"BASE_URL": "http://127.0.0.1:1", "API_KEY": "sk-env", "AUTH_TOKEN": "sk-env", "CUSTOM_HEADERS": "X-Env: sk-env",
		"PROFILE": "sk-env", "ORG_ID": "sk-env", "PROJECT_ID": "sk-env", "OPEN_TELEMETRY": "true", "OPEN_TELEMETRY_TRACES_CONTENT_MODE": "content",
	} {
		t.Setenv("ANTHROPIC_"+name, value)
		t.Setenv("OPENAI_"+name, value)
	}
	everyWay(t, func(t *testing.T, w way) {
		r := prompt("hi")
		r.Caller = "api:alice"
		_, _, got := answered(t, w, modeltest.Options{}, r)
		if all := fmt.Sprint(got.Header, got.Body, got.URL); strings.Contains(all, "sk-env") || strings.Contains(all, "alice") {
			t.Errorf("request = %s", all)
		}
		if got.Key != canary {
			t.Errorf("another key came")
		}
	})
}

func TestEndpointForms(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		s := modeltest.New(modeltest.Options{})
		defer s.Close()
		root, path := strings.TrimSuffix(s.URL, "/v1"), "/chat/completions"
		forms := map[string]string{"/v1": "/v1" + path, "/v1/": "/v1" + path, "/v1" + path + "?api-version=1": "/v1" + path + "?api-version=1"}
		if !w.openAI {
			path = "/messages"
			forms = map[string]string{
				"": "/v1" + path, "/": "/v1" + path, "/v1": "/v1" + path, "/v1/messages": "/v1" + path, "/anthropic": "/anthropic/v1" + path, "/x/v1/messages?a=b": "/x/v1" + path + "?a=b",
			}
		}
		for endpoint, want := range forms {
			if _, err := w.connect(t, upstream.Options{Endpoint: root + endpoint}).Complete(t.Context(), prompt("hi")); err != nil {
				t.Errorf("%s: %v", endpoint, err)
				continue
			}
			all := s.Requests()
			if got := all[len(all)-1].URL; got != want {
				t.Errorf("%s: asked %s, want %s", endpoint, got, want)
			}
		}
	})
}
