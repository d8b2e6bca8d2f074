package app

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/ops/config"
	"moltbot/workers/model/modeltest"
)

// twoProviders is a configuration with the models main, with the fall-back spare,
// and chinese; each has a server of its own.
func twoProviders(t *testing.T) (c config.Config, main, spare *modeltest.Server) {
	t.Helper()
	main, spare = modeltest.New(modeltest.Options{}), modeltest.New(modeltest.Options{})
	t.Cleanup(main.Close)
	t.Cleanup(spare.Close)
	c = settings(t)
	at := openAIAt
	c.Model.Catalog = config.Catalog{
		Default:   "main",
		Providers: map[string]config.Provider{"one": at(main.URL), "two": at(spare.URL)},
		Models: map[string]config.Entry{
			"main":    {Provider: "one", Model: "m-1", MaxTokens: 11, Fallback: []string{"spare"}},
			"spare":   {Provider: "two", Model: "s-1", MaxTokens: 12},
			"chinese": {Provider: "two", Model: "zh-1", MaxTokens: 13},
		},
		Routes: []contracts.ModelRoute{{Pattern: "^/zh/", Model: "chinese"}},
	}
	must(t, c.Validate())
	return c, main, spare
}

// openAIAt is a provider with OpenAI's protocol.
func openAIAt(url string) config.Provider {
	return config.Provider{
		Kind: config.KindOpenAI, Endpoint: url, Stream: true, FirstTokenTimeout: time.Second, IdleTimeout: time.Second, Timeout: 5 * time.Second,
		MaxResponseBytes: 1 << 20,
	}
}

func chatReply(t *testing.T, a *App, token, text string) (r contracts.ChatReply) {
	t.Helper()
	status, body := ask(t, a, token, map[string]any{"message": text, "session_id": "s"})
	equal(t, "status", status, http.StatusOK)
	must(t, json.Unmarshal(body, &r))
	return r
}

func TestModelsAnswerByRouteAndFallBack(t *testing.T) {
	leaks := noLeak(t)
	c, main, spare := twoProviders(t)
	a, _, err := up(t, c)
	must(t, err)
	r := run(t, a)
	await(t, "ready", r.Ready())
	token, err := a.Token("alice", 1, "chat")
	must(t, err)

	equal(t, "the default answers", chatReply(t, a, token, "hello").Reply, "echo: hello")
	equal(t, "a route in the text", chatReply(t, a, token, "/zh/ 你好").Reply, "echo: 你好")
	zh := spare.Requests()[0]
	equal(t, "model", zh.Model, "zh-1")
	equal(t, "tokens", zh.MaxTokens, 13)

	main.Behave(func(modeltest.Request) modeltest.Behavior {
		return modeltest.Behavior{Kind: modeltest.Status, Status: 503}
	})
	equal(t, "the fall-back answers", chatReply(t, a, token, "again").Reply, "echo: again")
	last := spare.Requests()[1]
	equal(t, "model of the fall-back", last.Model, "s-1")
	var said []string
	for _, m := range last.Messages {
		said = append(said, m.Content)
	}
	equal(t, "what was said", strings.Join(said, "|"), "hello|echo: hello|你好|echo: 你好|again")

	status, body := ask(t, a, token, map[string]any{"message": "x", "model": "unknown"})
	if status != http.StatusNotFound || !strings.Contains(string(body), string(contracts.CodeModelUnknown)) {
		t.Errorf("unknown model: %d %s", status, body)
	}
	r.stop(t)
	main.Close()
	spare.Close()
	leaks()
}

func TestApologyIsTheOnlyAnswer(t *testing.T) {
	c, main, spare := twoProviders(t)
	c.Model.OnFailure = config.FailureApologize
	a, lines, err := up(t, c)
	must(t, err)
	r := run(t, a)
	await(t, "ready", r.Ready())
	token, err := a.Token("alice", 1, "chat")
	must(t, err)
	down := func(modeltest.Request) modeltest.Behavior {
		return modeltest.Behavior{Kind: modeltest.Status, Status: 503, Header: map[string]string{"Retry-After": "9"}}
	}
	main.Behave(down)
	spare.Behave(down)
	sorry := chatReply(t, a, token, "你在吗")
	if !strings.HasPrefix(sorry.Reply, "抱歉") {
		t.Errorf("reply: %+v", sorry)
	}
	equal(t, "calls", len(main.Requests())*10+len(spare.Requests()), 11)
	hasText(t, lines.String(), "no model answers, the answer is an apology", `"apology":true`)

	main.Behave(func(modeltest.Request) modeltest.Behavior { return modeltest.Behavior{} })
	equal(t, "the next message", chatReply(t, a, token, "and now?").Reply, "echo: and now?")
	last := main.Requests()[1]
	equal(t, "messages that the model was told", len(last.Messages), 1)
	_, text := scrape(t, a, "/metrics")
	hasText(t, text, `moltbot_model_apologies_total{model="main"} 1`, `moltbot_model_fallbacks_total{fallback="spare",model="main"} 1`,
		`moltbot_model_request_duration_seconds_count{outcome="apology"} 1`, `moltbot_workers_retries_total 0`)
	r.stop(t)
}

func TestProvidersAreExchanged(t *testing.T) {
	c, main, spare := twoProviders(t)
	a, _, err := up(t, c)
	must(t, err)
	w, err := (&App{o: a.o, node: "n", rdb: a.rdb}).openChain()
	must(t, err)
	providers, _, _ := c.Model.All()
	was := w.open["one"]
	must(t, w.SetProviders(providers))
	equal(t, "an unchanged provider stays", w.open["one"] == was, true)
	moved := providers["one"]
	moved.APIKey = "fresh"
	must(t, w.SetProviders(map[string]config.Provider{"one": moved, "two": providers["two"]}))
	equal(t, "a changed provider is another one", w.open["one"] != was, true)
	if err := w.SetProviders(map[string]config.Provider{"one": moved}); err == nil {
		t.Error("a provider that the table needs was given up")
	}
	if err := w.SetProviders(map[string]config.Provider{"one": {Kind: config.KindOpenAI}, "two": providers["two"]}); err == nil {
		t.Error("a provider without an endpoint was taken")
	}
	equal(t, "after refusals", len(w.open), 2)
	must(t, w.close())
	must(t, a.close())
	equal(t, "calls", len(main.Requests())+len(spare.Requests()), 0)
}

func TestProviderByKind(t *testing.T) {
	w := &answerer{}
	for name, p := range map[string]config.Provider{
		"demo":      {Kind: config.KindDemo},
		"claude":    {Kind: config.KindAnthropic, APIKey: "k"},
		"anthropic": {Kind: config.KindAnthropic, APIKey: "k"},
		"openai":    {Kind: config.KindOpenAI, APIKeys: []string{"k", "l"}},
		"local":     {Kind: config.KindOpenAI, Endpoint: "http://127.0.0.1:1/v1"},
	} {
		c, err := w.provider(name, p)
		if err != nil || c == nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		must(t, closeOne(c))
	}
	if c, err := w.provider("local", config.Provider{Kind: config.KindOpenAI}); err == nil || c != nil {
		t.Errorf("a provider without an endpoint: %v, %v", c, err)
	}
}
