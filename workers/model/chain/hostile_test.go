package chain_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/workers/model"
	"moltbot/workers/model/chain"
	"moltbot/workers/model/modeltest"
	"moltbot/workers/model/openai"
	"moltbot/workers/workerstest"
)

// upstream starts a provider and gives its client.
func upstream(t *testing.T, name string, behave func(modeltest.Request) modeltest.Behavior, keys ...string) (*modeltest.Server, model.Completer) {
	t.Helper()
	s := modeltest.New(modeltest.Options{Behave: behave})
	t.Cleanup(s.Close)
	c, err := openai.New(openai.Options{
		Provider: name, Endpoint: s.URL, Keys: keys, Stream: true, FirstToken: 300 * time.Millisecond, Idle: 300 * time.Millisecond, Total: 2 * time.Second,
	})
	workerstest.Must(t, err)
	t.Cleanup(func() { workerstest.Must(t, c.Close()) })
	return s, c
}

func always(b modeltest.Behavior) func(modeltest.Request) modeltest.Behavior {
	return func(modeltest.Request) modeltest.Behavior { return b }
}

func status(code int, header map[string]string, body string) modeltest.Behavior {
	return modeltest.Behavior{Kind: modeltest.Status, Status: code, Header: header, Body: body}
}

// The rows of the reliability notes, group M, as far as the choice of who answers goes.
func TestHostileProviders(t *testing.T) {
	long := `{"error":{"message":"This model's maximum context length is 10 tokens.","code":"context_length_exceeded"}}`
	for _, tc := range []struct {
		name   string
		bad    modeltest.Behavior
		calls  int
		answer bool // of the fall-back
		code   contracts.Code
	}{
		{name: "M1 too many, seconds", bad: status(429, map[string]string{"Retry-After": "30"}, ""), calls: 1, answer: true},
		{name: "M1 too many, absurd", bad: status(429, map[string]string{"Retry-After": "86400"}, ""), calls: 1, answer: true},
		{name: "M1 too many, date", bad: status(429, map[string]string{"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}, ""), calls: 1, answer: true},
		{name: "M2 500", bad: status(500, nil, ""), calls: 2, answer: true},
		{name: "M2 503 with a wait", bad: status(503, map[string]string{"Retry-After": "20"}, ""), calls: 1, answer: true},
		{name: "M2 529", bad: status(529, nil, ""), calls: 2, answer: true},
		{name: "M3 401", bad: status(401, nil, ""), calls: 1, answer: true},
		{name: "M3 403", bad: status(403, nil, ""), calls: 1, answer: true},
		{name: "M4 too long", bad: status(400, nil, long), calls: 2, code: contracts.CodeModelFailed},
		{name: "400", bad: status(400, nil, ""), calls: 1, code: contracts.CodeModelFailed},
		{name: "M5 silent", bad: modeltest.Behavior{Kind: modeltest.Silent}, calls: 1, answer: true},
		{name: "M5 reset", bad: modeltest.Behavior{Kind: modeltest.Reset}, calls: 2, answer: true},
		{name: "M9 page", bad: modeltest.Behavior{Kind: modeltest.Raw, Body: "<html>", Header: map[string]string{"Content-Type": "text/html"}}, calls: 2, answer: true},
		{name: "M10 cut", bad: modeltest.Behavior{Kind: modeltest.Cut}, calls: 2, answer: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bad, first := upstream(t, "p", always(tc.bad), "key-one")
			good, second := upstream(t, "q", nil)
			c := build(t, router(t, 1, "a", entries{"a": {Provider: "p", Model: "m", Fallback: []string{"b"}}, "b": {Provider: "q", Model: "n"}}),
				map[string]model.Completer{"p": first, "q": second}, nil)
			choice, err := c.Choose(text("x"))
			workerstest.Must(t, err)
			answer, err := choice.Complete(t.Context(), model.Request{Messages: []model.Message{
				{Role: model.RoleUser, Text: "u1"}, {Role: model.RoleAssistant, Text: "a1"}, {Role: model.RoleUser, Text: "u2"},
			}})
			equal(t, "calls", len(bad.Requests()), tc.calls)
			if tc.answer && (err != nil || answer.Text != "echo: u2" || answer.Version != "q/n") {
				t.Errorf("answer %+v, %v", answer, err)
			}
			if !tc.answer && (contracts.Public(err).Code != tc.code || contracts.Retryable(err) || len(good.Requests()) != 0) {
				t.Errorf("error %v, %d calls of the fall-back", err, len(good.Requests()))
			}
			if tc.name == "M4 too long" {
				equal(t, "messages of the second try", len(bad.Requests()[1].Messages), 1)
			}
		})
	}
}

// M10 and R23: of what was shown nothing is taken back.
func TestStreamThatBreaksOffIsNotContinuedElsewhere(t *testing.T) {
	for _, kind := range []modeltest.Kind{modeltest.Cut, modeltest.Abort, modeltest.Stall} {
		bad, first := upstream(t, "p", always(modeltest.Behavior{Kind: kind}))
		good, second := upstream(t, "q", nil)
		c := build(t, router(t, 1, "a", entries{"a": {Provider: "p", Model: "m", Fallback: []string{"b"}}, "b": {Provider: "q", Model: "n"}}),
			map[string]model.Completer{"p": first, "q": second}, func(o *chain.Options) { o.Apologize = true })
		choice, err := c.Choose(text("x"))
		workerstest.Must(t, err)
		var shown strings.Builder
		_, err = choice.Complete(t.Context(), model.Request{
			Messages: []model.Message{{Role: model.RoleUser, Text: "a longer message"}}, OnDelta: func(s string) { shown.WriteString(s) },
		})
		if !contracts.Retryable(err) || !strings.HasPrefix("echo: a longer message", shown.String()) || shown.Len() == 0 {
			t.Errorf("%v: error %v, shown %q", kind, err, shown.String())
		}
		equal(t, "calls", len(bad.Requests())+10*len(good.Requests()), 1)
	}
}

// M16: with everything down each message gets one error, and the providers are
// left alone.
func TestAllDownMakesNoStorm(t *testing.T) {
	p, first := upstream(t, "p", always(status(http.StatusBadGateway, nil, "")))
	q, second := upstream(t, "q", always(modeltest.Behavior{Kind: modeltest.Reset}))
	c := build(t, router(t, 1, "a", entries{"a": {Provider: "p", Model: "m", Fallback: []string{"b"}}, "b": {Provider: "q", Model: "n"}}),
		map[string]model.Completer{"p": first, "q": second}, nil)
	for range 200 {
		_, err := ask(t, c, text("x"))
		e := contracts.Public(err)
		if !e.Retryable || e.RetryAfter < time.Second || e.Code != contracts.CodeModelFailed {
			t.Fatalf("error: %v", err)
		}
	}
	for _, s := range []*modeltest.Server{p, q} {
		if n := len(s.Requests()); n != 5 {
			t.Errorf("%d calls for 200 messages", n)
		}
	}
}
