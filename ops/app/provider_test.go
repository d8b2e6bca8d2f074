package app

import (
	"net/http"
	"strings"
	"testing"

	"moltbot/contracts"
	"moltbot/ops/config"
	"moltbot/workers/model/modeltest"
)

// completion is the path of OpenAI's API.
const completion = "/v1/chat/completions"

func v1(text string, stream bool) map[string]any {
	return map[string]any{"model": "main", "stream": stream, "messages": []any{map[string]any{"role": "user", "content": text}}}
}

// A provider of the kind anthropic answers on both APIs, whole and in pieces.
func TestAnthropicAnswers(t *testing.T) {
	c, main, spare := twoProviders(t)
	p := c.Model.Catalog.Providers["one"]
	p.Kind, p.APIKey = config.KindAnthropic, "key-of-one"
	c.Model.Catalog.Providers["one"] = p
	c.Cache.Enabled = false
	must(t, c.Validate())
	a, lines, err := up(t, c)
	must(t, err)
	r := run(t, a)
	await(t, "ready", r.Ready())
	token, err := a.Token("alice", 1, "chat")
	must(t, err)

	first := chatReply(t, a, token, "hello")
	equal(t, "reply", first.Reply, "echo: hello")
	equal(t, "made by", first.ModelVersion, "one/m-1")
	if first.Usage == nil || first.Usage.CompletionTokens != len("echo: hello") {
		t.Errorf("usage: %+v", first.Usage)
	}
	status, body := ask(t, a, token, map[string]any{"message": "and you?", "session_id": "s", "stream": true})
	equal(t, "status", status, http.StatusOK)
	hasText(t, string(body), "event: delta\n", `"reply":"echo: and you?"`, `"finish_reason":"stop"`)
	tool := map[string]any{"type": "function", "function": map[string]any{"name": "weather", "parameters": map[string]any{"type": "object"}}}
	main.Behave(func(modeltest.Request) modeltest.Behavior {
		return modeltest.Behavior{Calls: []modeltest.Call{{ID: "c1", Name: "weather", Arguments: `{"city":"Bonn"}`}}}
	})
	for _, stream := range []bool{false, true} {
		want := v1("rain?", stream)
		want["tools"] = []any{tool}
		status, body = post(t, a, completion, token, want)
		equal(t, "status", status, http.StatusOK)
		hasText(t, string(body), `"finish_reason":"tool_calls"`, `"id":"c1"`, `{\"city\":\"Bonn\"}`)
	}
	asked := main.Requests()
	equal(t, "calls", len(asked)*10+len(spare.Requests()), 40)
	for i, q := range asked {
		if !strings.HasSuffix(q.URL, "/v1/messages") || q.Key != "key-of-one" || q.Model != "m-1" || q.MaxTokens != 11 {
			t.Errorf("call %d: %s as %s with %d tokens", i+1, q.URL, q.Model, q.MaxTokens)
		}
	}
	equal(t, "messages of the second call", len(asked[1].Messages), 3)
	if strings.Contains(lines.String(), "key-of-one") {
		t.Error("the log shows the key")
	}
	r.stop(t)
}

// An apology is final in each form of an answer, and says so in the words of its API.
func TestApologyInEveryForm(t *testing.T) {
	c, main, spare := twoProviders(t)
	c.Model.OnFailure, c.Model.Apology = config.FailureApologize, "Later!"
	a, _, err := up(t, c)
	must(t, err)
	r := run(t, a)
	await(t, "ready", r.Ready())
	token, err := a.Token("alice", 1, "chat")
	must(t, err)
	busy := func(modeltest.Request) modeltest.Behavior {
		return modeltest.Behavior{Kind: modeltest.Status, Status: 429, Header: map[string]string{"Retry-After": "0"}}
	}
	main.Behave(busy)
	spare.Behave(busy)

	plain := chatReply(t, a, token, "one?")
	if plain.Reply != "Later!" || plain.FinishReason != "error" || plain.Cached || plain.Usage == nil || *plain.Usage != (contracts.Usage{}) {
		t.Errorf("reply: %+v", plain)
	}
	_, body := ask(t, a, token, map[string]any{"message": "two?", "session_id": "s", "stream": true})
	hasText(t, string(body), "event: delta\ndata: {\"text\":\"Later!\"}", "event: done\n", `"reply":"Later!"`, `"finish_reason":"error"`)
	equal(t, "pieces", strings.Count(string(body), "event: delta"), 1)
	_, body = post(t, a, completion, token, v1("three?", false))
	hasText(t, string(body), `"content":"Later!"`, `"finish_reason":"stop"`, `"total_tokens":0`)
	_, body = post(t, a, completion, token, v1("four?", true))
	hasText(t, string(body), `"content":"Later!"`, `"finish_reason":"stop"`, "data: [DONE]")
	equal(t, "calls: each model once for a message", len(main.Requests())*10+len(spare.Requests()), 44)

	main.Behave(func(modeltest.Request) modeltest.Behavior { return modeltest.Behavior{} })
	equal(t, "the same question again", chatReply(t, a, token, "one?").Reply, "echo: one?")
	last := main.Requests()[4]
	equal(t, "messages that the model was told", len(last.Messages), 1)
	r.stop(t)
}
