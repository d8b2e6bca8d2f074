package openai_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"moltbot/contracts"
	"moltbot/workers/model"
	"moltbot/workers/model/modeltest"
	"moltbot/workers/model/openai"
	"moltbot/workers/model/upstream"
)

// canary is a key that must not show up in any error.
const canary = "sk-canary-0123456789abcdefghij"

// far is a limit that no test is meant to reach; near is one that it is.
const (
	far  = time.Minute
	near = 30 * time.Millisecond
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, o modeltest.Options) *modeltest.Server {
	t.Helper()
	o.Key = canary
	s := modeltest.New(o)
	t.Cleanup(s.Close)
	return s
}

func behaving(b modeltest.Behavior) func(modeltest.Request) modeltest.Behavior {
	return func(modeltest.Request) modeltest.Behavior { return b }
}

func connect(t *testing.T, o openai.Options) *upstream.Client {
	t.Helper()
	for _, d := range []*time.Duration{&o.FirstToken, &o.Idle, &o.Total} {
		if *d == 0 {
			*d = far
		}
	}
	if o.Keys == nil {
		o.Keys = []string{canary}
	}
	if o.Provider == "" {
		o.Provider = "acme"
	}
	c, err := openai.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// bothWays runs a test against a plain and a streamed answer.
func bothWays(t *testing.T, f func(t *testing.T, stream bool)) {
	t.Helper()
	t.Run("plain", func(t *testing.T) { f(t, false) })
	t.Run("stream", func(t *testing.T) { f(t, true) })
}

func prompt(text string) model.Request {
	return model.Request{Messages: []model.Message{
		{Role: model.RoleSystem, Text: "be brief"},
		{Role: model.RoleUser, Text: "first"},
		{Role: model.RoleAssistant, Text: "yes?"},
		{Role: model.RoleUser, Text: text},
	}}
}

func TestAnswer(t *testing.T) {
	bothWays(t, func(t *testing.T, stream bool) {
		s := serve(t, modeltest.Options{})
		c := connect(t, openai.Options{
			Endpoint: s.URL, Model: "m1", Stream: stream, MaxTokens: 77, Temperature: new(0.5),
		})
		var shown strings.Builder
		r := prompt("你好")
		r.User, r.OnDelta = "u-hash", func(d string) { shown.WriteString(d) }
		a, err := c.Complete(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		want := model.Answer{
			Text: "echo: 你好", Model: "m1", Version: "acme/m1", Finish: "stop",
			Usage: contracts.Usage{PromptTokens: 19, CompletionTokens: 8}, Tokens: 8,
		}
		if !reflect.DeepEqual(a, want) {
			t.Errorf("answer = %+v, want %+v", a, want)
		}
		if shown.String() != a.Text {
			t.Errorf("shown = %q", shown.String())
		}
		got := s.Requests()[0]
		if got.Stream != stream || got.Model != "m1" || got.User != "u-hash" || got.MaxTokens != 77 || *got.Temperature != 0.5 {
			t.Errorf("request = %+v", got)
		}
		if len(got.Messages) != 4 || got.Messages[0].Role != "system" || got.Messages[2] != (modeltest.Message{Role: "assistant", Content: "yes?"}) {
			t.Errorf("messages = %+v", got.Messages)
		}
	})
}

func TestAnswerInOnePieceAlthoughAStreamWasAskedFor(t *testing.T) {
	s := serve(t, modeltest.Options{Behave: behaving(modeltest.Behavior{Kind: modeltest.Plain})})
	c := connect(t, openai.Options{Endpoint: s.URL, Stream: true})
	var shown []string
	r := prompt("hi")
	r.Model, r.OnDelta = "other", func(d string) { shown = append(shown, d) }
	a, err := c.Complete(t.Context(), r)
	if err != nil || a.Text != "echo: hi" || a.Version != "acme/other" {
		t.Errorf("answer = %+v, %v", a, err)
	}
	if len(shown) != 1 || shown[0] != a.Text {
		t.Errorf("shown = %q", shown)
	}
}

func TestFinish(t *testing.T) {
	bothWays(t, func(t *testing.T, stream bool) {
		for upstream, want := range map[string]string{"length": "length", "stop": "stop", "eos": "stop"} {
			s := serve(t, modeltest.Options{Behave: behaving(modeltest.Behavior{Finish: upstream})})
			c := connect(t, openai.Options{Endpoint: s.URL, Stream: stream})
			if a, err := c.Complete(t.Context(), prompt("hi")); err != nil || a.Finish != want {
				t.Errorf("%s: answer = %+v, %v", upstream, a, err)
			}
		}
	})
}

func TestUsageIsNotBelievedBlindly(t *testing.T) {
	own := contracts.Usage{PromptTokens: 2 + 1 + 1 + 0, CompletionTokens: 2} // "echo: hi"
	bothWays(t, func(t *testing.T, stream bool) {
		for usage, want := range map[string]contracts.Usage{
			"none": own, "null": own, "[]": own, `{"prompt_tokens":"7"}`: own,
			`{"prompt_tokens":-1,"completion_tokens":-5}`:      own,
			`{"prompt_tokens":1e300,"completion_tokens":2e10}`: own,
			`{"prompt_tokens":5,"completion_tokens":10000001}`: {PromptTokens: 5, CompletionTokens: own.CompletionTokens},
			`{"prompt_tokens":5,"completion_tokens":6}`:        {PromptTokens: 5, CompletionTokens: 6},
		} {
			s := serve(t, modeltest.Options{Behave: behaving(modeltest.Behavior{Usage: usage})})
			c := connect(t, openai.Options{Endpoint: s.URL, Stream: stream})
			if a, err := c.Complete(t.Context(), prompt("hi")); err != nil || a.Usage != want {
				t.Errorf("%s: usage = %+v, %v, want %+v", usage, a.Usage, err, want)
			}
		}
	})
}

func TestEventStreamDialects(t *testing.T) {
	for name, body := range map[string]string{
		"crlf":        "data: {\"choices\":[{\"delta\":{\"content\":\"ok\"},\"finish_reason\":\"stop\"}]}\r\n\r\ndata: [DONE]\r\n\r\n",
		"comments":    ": ping\n\nretry: 5\nid: 7\nevent: x\nfoo: bar\ndata: {\"choices\":[{\"delta\":{\"content\":\"ok\"},\"finish_reason\":\"stop\"}]}\n\n",
		"no space":    "data:{\"choices\":[{\"delta\":{\"content\":\"ok\"}}]}\n\ndata:[DONE]\n\n",
		"null error":  "data: {\"error\":null,\"choices\":[{\"delta\":{\"content\":\"ok\",\"x\":1},\"finish_reason\":\"stop\"}]}\n\n",
		"reasoning":   "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"ok\"},\"finish_reason\":\"stop\"}]}\n\n",
		"two choices": "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"no\"}},{\"delta\":{\"content\":\"ok\"},\"finish_reason\":\"stop\"}]}\n\n",
		"two lines":   "data: {\"choices\":[{\"delta\":{\"content\":\"ok\"},\ndata: \"finish_reason\":\"stop\"}]}\n\n",
		"noise after": "data: {\"choices\":[{\"delta\":{\"content\":\"ok\"},\"finish_reason\":\"stop\"}]}\n\ndata: {bad\n\n",
		"refusal":     "data: {\"choices\":[{\"delta\":{\"refusal\":\"ok\"},\"finish_reason\":\"stop\"}]}\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, modeltest.Options{Behave: behaving(modeltest.Behavior{Kind: modeltest.Raw, Body: body})})
			c := connect(t, openai.Options{Endpoint: s.URL, Stream: true})
			if a, err := c.Complete(t.Context(), prompt("hi")); err != nil || a.Text != "ok" {
				t.Errorf("answer = %+v, %v", a, err)
			}
		})
	}
}

func TestEndpointForms(t *testing.T) {
	s := serve(t, modeltest.Options{})
	root := strings.TrimSuffix(s.URL, "/v1")
	for endpoint, want := range map[string]string{
		root + "/v1":                   "/v1/chat/completions",
		root + "/v1/":                  "/v1/chat/completions",
		root + "/v1/chat/completions":  "/v1/chat/completions",
		root + "/v1/chat/completions/": "/v1/chat/completions",
		root:                           "/chat/completions",
		root + "/compatible-mode/v1":   "/compatible-mode/v1/chat/completions",
		root + "/a%2Fb/v1":             "/a%2Fb/v1/chat/completions",
		root + "/openai/deployments/gpt/chat/completions?api-version=1": "/openai/deployments/gpt/chat/completions?api-version=1",
	} {
		c := connect(t, openai.Options{Endpoint: endpoint})
		if _, err := c.Complete(t.Context(), prompt("hi")); err != nil {
			t.Errorf("%s: %v", endpoint, err)
			continue
		}
		all := s.Requests()
		if got := all[len(all)-1].URL; got != want {
			t.Errorf("%s: asked %s, want %s", endpoint, got, want)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for name, o := range map[string]openai.Options{
		"no provider":   {Endpoint: "https://h/v1"},
		"no endpoint":   {Provider: "acme"},
		"no key":        {Provider: "openai"},
		"scheme":        {Provider: "a", Endpoint: "ftp://h/v1"},
		"no host":       {Provider: "a", Endpoint: "https:///v1"},
		"opaque":        {Provider: "a", Endpoint: "https:h"},
		"userinfo":      {Provider: "a", Endpoint: "https://u:" + canary + "@h/v1"},
		"unparsable":    {Provider: "a", Endpoint: "https://u:" + canary + "@h:x/v1"},
		"fragment":      {Provider: "a", Endpoint: "https://h/v1#x"},
		"key with line": {Provider: "a", Endpoint: "https://h/v1", Keys: []string{canary + "\n"}},
		"temperature":   {Provider: "a", Endpoint: "https://h/v1", Temperature: new(3.0)},
		"negative":      {Provider: "a", Endpoint: "https://h/v1", Idle: -1},
	} {
		_, err := openai.New(o)
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("%s: leaks: %v", name, err)
		}
	}
	_, err := openai.New(openai.Options{Endpoint: "ftp://h", MaxTokens: -1})
	for _, part := range []string{"provider", "http or https", "negative"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("not reported at once: %q in %v", part, err)
		}
	}
}

func TestOpenAIItself(t *testing.T) {
	c, err := openai.New(openai.Options{Provider: "openai", Keys: []string{canary}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // nothing leaves the machine
	if _, err := c.Complete(ctx, prompt("hi")); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}
