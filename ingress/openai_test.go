package ingress_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/ingress"
)

// tables is a table of models that a test may take away.
type tables struct{ router *contracts.Router }

func (t *tables) Router() *contracts.Router { return t.router }

const poor = "token-with-few-models-CANARY"

// withModels gives ingress a table, and a caller who may not use all of it.
func withModels(t testing.TB) (*tables, func(*ingress.Options)) {
	t.Helper()
	router, err := contracts.NewRouter(contracts.ModelTable{
		Default: "fast", At: time.Unix(1700000000, 0),
		Models: map[string]contracts.ModelEntry{
			"fast": {Provider: "acme", Model: "acme-1"}, "slow": {Provider: "acme", Model: "acme-2"},
			"any": {Provider: "other", Model: "base", AnyModel: true},
		},
	}, 1)
	if err != nil {
		t.Fatal(err)
	}
	m := &tables{router}
	return m, func(o *ingress.Options) {
		o.Models = m
		o.Verifier = verifier{
			ann: users[ann], bob: users[bob], guest: users[guest],
			poor: {User: "poor", Scopes: []string{"chat"}, Models: contracts.ModelNames{"fast", "any/x*"}},
		}
	}
}

func newOpenAIRig(t testing.TB, change ...func(*ingress.Options)) *rig {
	t.Helper()
	_, models := withModels(t)
	return newRig(t, append([]func(*ingress.Options){models}, change...)...)
}

// ask is a body for /v1/chat/completions; more are members of it.
func ask(messages string, more ...string) string {
	fields := append([]string{`"model":"fast"`, `"messages":[` + messages + `]`}, more...)
	return "{" + strings.Join(fields, ",") + "}"
}

func user(text string) string {
	b, _ := json.Marshal(text)
	return `{"role":"user","content":` + string(b) + `}`
}

func (r *rig) complete(body string, with ...string) response {
	r.t.Helper()
	return r.call(http.MethodPost, "/v1/chat/completions", body, with...)
}

type fault struct {
	Message string
	Type    string
	Param   *string
	Code    *string
}

// refused checks that res is an error in OpenAI's shape.
func refused(t testing.TB, res response, status int, code string) fault {
	t.Helper()
	var p struct{ Error fault }
	var members map[string]map[string]json.RawMessage
	if err := json.Unmarshal([]byte(res.body), &members); err != nil || len(members) != 1 || len(members["error"]) != 4 {
		t.Fatalf("status %d, not that API's shape: %s", res.status, res.body)
	}
	if err := json.Unmarshal([]byte(res.body), &p); err != nil {
		t.Fatal(err)
	}
	is := ""
	if p.Error.Code != nil {
		is = *p.Error.Code
	}
	if res.status != status || is != code || p.Error.Message == "" || p.Error.Type == "" {
		t.Errorf("status %d, want %d with code %q: %s", res.status, status, code, res.body)
	}
	if kind := res.header.Get("Content-Type"); kind != "application/json" {
		t.Errorf("content type %q", kind)
	}
	if res.header.Get("X-Request-Id") == "" {
		t.Error("no request id")
	}
	return p.Error
}

func TestCompletion(t *testing.T) {
	r := newOpenAIRig(t)
	w := r.work(answered)
	res := r.complete(ask(`{"role":"developer","content":"be kind"},`+user("hi"), `"temperature":0.5`, `"unknown":{"a":[1]}`))
	m := await(t, "the message", w.taken)
	want := fmt.Sprintf(`{"id":"chatcmpl-%s","object":"chat.completion","created":%d,"model":"fast","choices":[{"index":0,`+
		`"message":{"role":"assistant","content":"you said hi","refusal":null},"logprobs":null,"finish_reason":"stop"}],`+
		`"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3},"system_fingerprint":"demo-1"}`, m.ID, r.clock.now().Unix())
	if res.status != 200 || strings.TrimSpace(res.body) != want || res.header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %s\nwant %s", res.status, res.body, want)
	}
	if res.header.Get("X-Request-Id") == "" {
		t.Error("no request id")
	}
	prompt, err := contracts.DecodePrompt(m.Prompt)
	if err != nil {
		t.Fatal(err)
	}
	if wanted := []contracts.PromptMessage{{Role: "system", Text: "be kind"}, {Role: "user", Text: "hi"}}; !reflect.DeepEqual(prompt, wanted) {
		t.Errorf("prompt %+v", prompt)
	}
	params, err := contracts.DecodeParams(m.Params)
	if err != nil || params.Temperature == nil || *params.Temperature != 0.5 {
		t.Errorf("params %q: %v", m.Params, err)
	}
	if m.Flags != contracts.FlagUnkept || m.Model != "fast" || m.Text != "hi" || m.Channel != contracts.ChannelAPI || m.Caller != "api:ann" {
		t.Errorf("message %+v", m)
	}
}

func TestCompletionSessions(t *testing.T) {
	r := newOpenAIRig(t)
	w := r.work(answered)
	taken := func() contracts.Message { return await(t, "a message", w.taken) }
	r.post(say("hi", `"session_id":"mine"`))
	chat := taken()
	r.complete(ask(user("hi")), "X-Session-Id: mine")
	kept := taken()
	if kept.Conversation != chat.Conversation || kept.Flags.Has(contracts.FlagUnkept) || kept.SessionID != "mine" {
		t.Errorf("with the session: %+v", kept)
	}
	r.complete(ask(user("hi")))
	r.complete(ask(user("hi")))
	if a, b := taken(), taken(); a.Conversation == b.Conversation {
		t.Error("two requests without a session are one conversation")
	}
	r.complete(ask(user("hi")), "X-Session-Id: mine", "Authorization: Bearer "+bob)
	if other := taken(); other.Conversation == kept.Conversation {
		t.Error("another caller is in the same session")
	}
	refused(t, r.complete(ask(user("hi")), "X-Session-Id: a b"), 400, "")
	refused(t, r.complete(ask(`{"role":"system","content":"be brief"}`), "X-Session-Id: mine"), 400, "") // nothing that a turn could keep
	r.complete(ask(user("hi"), `"cache":false`))
	if m := taken(); !m.Flags.Has(contracts.FlagFresh) {
		t.Errorf("cache false: %v", m.Flags)
	}
}

// What the model wants called comes back as calls, and their results go in.
func TestCompletionTools(t *testing.T) {
	r := newOpenAIRig(t)
	w := r.work(func(m contracts.Message) (contracts.Result, bool) {
		a, _ := answered(m)
		a.Reply, a.ToolCalls, a.Finish = "", []contracts.ToolCall{{ID: "c1", Name: "weather", Arguments: `{"city":"Köln"}`}}, "tool_calls"
		return a, true
	})
	tools := `"tools":[ {"type":"function","function":{"name":"weather","parameters":{"type":"object"}}} ]`
	res := r.complete(ask(user("rain?"), tools, `"tool_choice":"auto"`, `"parallel_tool_calls":false`))
	if !strings.Contains(res.body, `"message":{"role":"assistant","content":null,"refusal":null,"tool_calls":[{"id":"c1","type":"function",`+
		`"function":{"name":"weather","arguments":"{\"city\":\"Köln\"}"}}]},"logprobs":null,"finish_reason":"tool_calls"`) {
		t.Errorf("%d %s", res.status, res.body)
	}
	params, err := contracts.DecodeParams(await(t, "the message", w.taken).Params)
	if err != nil || string(params.Tools) != `[{"type":"function","function":{"name":"weather","parameters":{"type":"object"}}}]` ||
		string(params.ToolChoice) != `"auto"` || params.ParallelTools == nil || *params.ParallelTools {
		t.Errorf("params %+v: %v", params, err)
	}
	r.complete(ask(user("rain?") + `,{"role":"assistant","content":null,"refusal":null,"tool_calls":[{"id":"c1","type":"function",` +
		`"function":{"name":"weather","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c1","content":[{"type":"text","text":"yes"}]}`))
	m := await(t, "the message", w.taken)
	prompt, err := contracts.DecodePrompt(m.Prompt)
	want := []contracts.PromptMessage{
		{Role: "user", Text: "rain?"}, {Role: "assistant", ToolCalls: []contracts.ToolCall{{ID: "c1", Name: "weather", Arguments: "{}"}}},
		{Role: "tool", Text: "yes", ToolCallID: "c1"},
	}
	if err != nil || !reflect.DeepEqual(prompt, want) || m.Text != "rain?" {
		t.Errorf("text %q, prompt %+v: %v", m.Text, prompt, err)
	}
}

func TestCompletionParts(t *testing.T) {
	r := newOpenAIRig(t)
	w := r.work(answered)
	r.complete(ask(`{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"https://x.example/i.png","detail":"low"}},` +
		`{"type":"text","text":"b"}]}`))
	m := await(t, "the message", w.taken)
	prompt, err := contracts.DecodePrompt(m.Prompt)
	want := []contracts.PromptMessage{{Role: "user", Parts: []contracts.PromptPart{
		{Text: "a"}, {Image: "https://x.example/i.png", Detail: "low"}, {Text: "b"},
	}}}
	if err != nil || !reflect.DeepEqual(prompt, want) || m.Text != "a\nb" {
		t.Errorf("text %q, prompt %+v: %v", m.Text, prompt, err)
	}
	r.complete(ask(`{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]}`))
	if m := await(t, "the message", w.taken); m.Text != "[image]" {
		t.Errorf("text of an image: %q", m.Text)
	}
	r.complete(ask(`{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/jpg;base64,/9j/"}}]}`))
	if m := await(t, "the message", w.taken); m.Prompt != `[{"role":"user","parts":[{"image":"data:image/jpeg;base64,/9j/"}]}]` {
		t.Errorf("a JPEG by its other name: %s", m.Prompt)
	}
	r.complete(ask(`{"role":"user","content":[{"type":"text","text":"a<b>&"},{"type":"text","text":"c"}]}`))
	if m := await(t, "the message", w.taken); m.Prompt != `[{"role":"user","text":"a<b>&\nc"}]` {
		t.Errorf("prompt %s", m.Prompt)
	}
}

func TestCompletionKeys(t *testing.T) {
	r := newOpenAIRig(t)
	w := r.work(answered)
	first := r.complete(ask(user("hi")), "Idempotency-Key: k")
	await(t, "the message", w.taken)
	again := r.complete(`{ "messages" : [`+user("hi")+`], "model":"fast"}`, "Idempotency-Key: k")
	if first.status != 200 || again.body != first.body {
		t.Errorf("%d %s\n%d %s", first.status, first.body, again.status, again.body)
	}
	refused(t, r.complete(ask(user("ho")), "Idempotency-Key: k"), 422, "idempotency_key_reuse")
	refused(t, r.complete(ask(user("hi")), "Idempotency-Key: k", "X-Session-Id: s"), 422, "idempotency_key_reuse")
	if n := r.stored(); n != 1 {
		t.Errorf("%d messages stored", n)
	}
}

// A failure of the message is not to be tried again by the client's library.
func TestCompletionFailed(t *testing.T) {
	for code, want := range map[contracts.Code]string{
		contracts.CodeModelFailed: "model_failed", contracts.CodeModelTimeout: "model_timeout", contracts.CodeBudget: "insufficient_quota",
	} {
		t.Run(want, func(t *testing.T) {
			r := newOpenAIRig(t)
			r.work(func(m contracts.Message) (contracts.Result, bool) {
				return contracts.Failed(m, code, "it went wrong", m.Accepted), true
			})
			res := r.complete(ask(user("hi")))
			if f := refused(t, res, code.Status(), want); f.Message != "it went wrong" || res.header.Get("X-Should-Retry") != "false" {
				t.Errorf("%+v, headers %v", f, res.header)
			}
		})
	}
}

func TestCompletionPatienceOver(t *testing.T) {
	r, cancels := noting(t, func(o *ingress.Options) { o.OpenAICap = time.Millisecond })
	res := r.complete(ask(user("hi")))
	if refused(t, res, 504, "model_timeout"); res.header.Get("X-Should-Retry") != "false" {
		t.Errorf("to be tried again: %v", res.header)
	}
	await(t, "the cancel", cancels)
	res = r.complete(ask(user("hi")), "Idempotency-Key: k")
	if refused(t, res, 504, "model_timeout"); res.header.Get("X-Should-Retry") != "" {
		t.Errorf("not to be tried again: %v", res.header)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if len(cancels) != 0 {
		t.Error("a message that can be asked for again was given up")
	}
}

// At shutdown, who waits is told to try elsewhere.
func TestCompletionWhileStopping(t *testing.T) {
	r, cancels := noting(t, func(o *ingress.Options) { o.DrainWait = time.Millisecond })
	w := r.work(held(t, nil))
	waiting := r.later(http.MethodPost, "/v1/chat/completions", ask(user("hi")))
	m := await(t, "the message", w.taken)
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	res := await(t, "the answer", waiting)
	if refused(t, res, 503, "shutting_down"); res.header.Get("Retry-After") == "" || res.header.Get("X-Should-Retry") != "" {
		t.Errorf("%v", res.header)
	}
	if await(t, "the cancel", cancels) != m.ID {
		t.Error("another message was given up")
	}
	if err := await(t, "the end", stopped); err != nil {
		t.Error(err)
	}
}

func TestTooManyCompletionsWait(t *testing.T) {
	r := newOpenAIRig(t, func(o *ingress.Options) { o.MaxWaiting = 1 })
	open := make(chan struct{})
	w := r.work(held(t, open))
	first := r.later(http.MethodPost, "/v1/chat/completions", ask(user("hi")))
	await(t, "the message", w.taken)
	res := r.complete(ask(user("ho")))
	refused(t, res, 503, "queue_full")
	if res.header.Get("Retry-After") != "1" || r.stored() != 1 {
		t.Errorf("Retry-After %q, %d stored", res.header.Get("Retry-After"), r.stored())
	}
	close(open)
	if res := await(t, "the answer", first); res.status != 200 {
		t.Errorf("%d %s", res.status, res.body)
	}
}
