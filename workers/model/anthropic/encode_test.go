package anthropic

import (
	"encoding/json"
	"errors"
	"testing"

	"moltbot/contracts"
	"moltbot/workers/model"
	"moltbot/workers/model/upstream"
)

func hello() []model.Message { return []model.Message{{Role: model.RoleUser, Text: "hi"}} }

const said = `"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]`

func TestEncodeParams(t *testing.T) {
	for name, c := range map[string]struct {
		opts   Options
		params contracts.Params
		want   string
	}{
		"bare":            {Options{}, contracts.Params{}, `{"model":"m","max_tokens":1024,` + said + `}`},
		"configured":      {Options{MaxTokens: 7, Temperature: new(1.7), Stream: true}, contracts.Params{}, `{"model":"m","max_tokens":7,` + said + `,"temperature":1,"stream":true}`},
		"chosen":          {Options{MaxTokens: 7, Temperature: new(1.7)}, contracts.Params{MaxTokens: 9, Temperature: new(0.0)}, `{"model":"m","max_tokens":9,` + said + `,"temperature":0}`},
		"top_p wins":      {Options{Temperature: new(0.7)}, contracts.Params{TopP: new(0.5)}, `{"model":"m","max_tokens":1024,` + said + `,"top_p":0.5}`},
		"one of two":      {Options{}, contracts.Params{TopP: new(0.5), Temperature: new(0.1)}, `{"model":"m","max_tokens":1024,` + said + `,"temperature":0.1}`},
		"stop":            {Options{}, contracts.Params{Stop: []string{"a", "\n"}}, `{"model":"m","max_tokens":1024,` + said + `,"stop_sequences":["a"]}`},
		"what is unknown": {Options{}, contracts.Params{Seed: new(int64(1)), ReasoningEffort: "low", ToolChoice: json.RawMessage(`"auto"`)}, `{"model":"m","max_tokens":1024,` + said + `}`},
	} {
		w := wire{opts: &c.opts}
		got, err := w.Encode("m", &model.Request{Messages: hello(), Params: c.params})
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %s, %v, want %s", name, got, err, c.want)
		}
	}
}

func TestEncodeTools(t *testing.T) {
	const one = `[{"type":"function","function":{"name":"f"}}]`
	for name, c := range map[string]struct {
		tools, choice string
		parallel      *bool
		want          string // of tool_choice; "-": none
	}{
		"nothing said":  {one, ``, nil, `-`},
		"null":          {one, `null`, nil, `-`},
		"auto":          {one, `"auto"`, nil, `{"type":"auto"}`},
		"none":          {one, `"none"`, new(false), `{"type":"none"}`},
		"required":      {one, `"required"`, new(true), `{"type":"any"}`},
		"one":           {one, `{"type":"function","function":{"name":"f"}}`, nil, `{"type":"tool","name":"f"}`},
		"not parallel":  {one, ``, new(false), `{"type":"auto","disable_parallel_tool_use":true}`},
		"unknown":       {one, `"sometimes"`, nil, ``},
		"nameless":      {one, `{"type":"function"}`, nil, ``},
		"no list":       {`{}`, ``, nil, ``},
		"other type":    {`[{"type":"web_search"}]`, ``, nil, ``},
		"nameless tool": {`[{"type":"function","function":{}}]`, ``, nil, ``},
		"empty list":    {`[]`, `"auto"`, nil, `-`},
	} {
		_, choice, err := tools(&contracts.Params{Tools: json.RawMessage(c.tools), ToolChoice: json.RawMessage(c.choice), ParallelTools: c.parallel})
		if c.want == "" {
			if !errors.Is(err, upstream.ErrRequest) {
				t.Errorf("%s: err = %v", name, err)
			}
			continue
		}
		got := []byte("-")
		if choice != nil {
			got, _ = json.Marshal(choice)
		}
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %s, %v, want %s", name, got, err, c.want)
		}
	}
}

func TestTalk(t *testing.T) {
	user := func(s string) model.Message { return model.Message{Role: model.RoleUser, Text: s} }
	bot := func(s string) model.Message { return model.Message{Role: model.RoleAssistant, Text: s} }
	system := func(s string) model.Message { return model.Message{Role: model.RoleSystem, Text: s} }
	image := func(s string) model.Message {
		return model.Message{Role: model.RoleUser, Parts: []contracts.PromptPart{{Image: s}}}
	}
	for name, c := range map[string]struct {
		messages     []model.Message
		system, want string
	}{
		"turns":        {[]model.Message{user("a"), bot("b"), user("c")}, "", `[{"role":"user","content":[{"type":"text","text":"a"}]},{"role":"assistant","content":[{"type":"text","text":"b"}]},{"role":"user","content":[{"type":"text","text":"c"}]}]`},
		"system":       {[]model.Message{system("x"), user("a"), system("y"), system(" ")}, "x\n\ny", `[{"role":"user","content":[{"type":"text","text":"a"}]}]`},
		"joined":       {[]model.Message{user("a"), user(" "), user("b")}, "", `[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]`},
		"bot first":    {[]model.Message{bot("b"), user("a")}, "", `[{"role":"user","content":[{"type":"text","text":"…"}]},{"role":"assistant","content":[{"type":"text","text":"b"}]},{"role":"user","content":[{"type":"text","text":"a"}]}]`},
		"bot last":     {[]model.Message{user("a"), bot("b \n")}, "", `[{"role":"user","content":[{"type":"text","text":"a"}]},{"role":"assistant","content":[{"type":"text","text":"b"}]}]`},
		"image":        {[]model.Message{image("https://h/i")}, "", `[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://h/i"}}]}]`},
		"image itself": {[]model.Message{image("data:image/png;base64,AA==")}, "", `[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}}]}]`},
		"no base64":    {[]model.Message{image("data:image/svg+xml,<svg/>")}, "", ``},
		"only system":  {[]model.Message{system("x")}, "", ``},
		"nothing":      {nil, "", ``},
	} {
		system, turns, err := talk(c.messages)
		if c.want == "" {
			if !errors.Is(err, upstream.ErrRequest) {
				t.Errorf("%s: err = %v", name, err)
			}
			continue
		}
		got, _ := json.Marshal(turns)
		if err != nil || system != c.system || string(got) != c.want {
			t.Errorf("%s: %q, %s, %v, want %s", name, system, got, err, c.want)
		}
	}
}

func TestArgumentsBecomeAnObject(t *testing.T) {
	for in, want := range map[string]string{
		"": "{}", " ": "{}", `{"a":1}`: `{"a":1}`, "null": `{"arguments":"null"}`, "[1]": `{"arguments":"[1]"}`, `{"a`: `{"arguments":"{\"a"}`,
	} {
		if got := string(object(in)); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}
