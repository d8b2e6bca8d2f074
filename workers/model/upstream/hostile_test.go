package upstream_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/workers/model"
	"moltbot/workers/model/anthropic"
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

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// way is a protocol and how its answer comes.
type way struct {
	name   string
	open   func(upstream.Options) (*upstream.Client, error)
	openAI bool
	stream bool
}

func ways() []way {
	return []way{
		{"openai plain", openai.New, true, false}, {"openai stream", openai.New, true, true},
		{"anthropic plain", anthropic.New, false, false}, {"anthropic stream", anthropic.New, false, true},
	}
}

func (w way) connect(t *testing.T, o upstream.Options) *upstream.Client {
	t.Helper()
	for _, d := range []*time.Duration{&o.FirstToken, &o.Idle, &o.Total} {
		if *d == 0 {
			*d = far
		}
	}
	if o.Keys == nil {
		o.Keys = []string{canary}
	}
	if o.Now == nil {
		o.Now = func() time.Time { return noon }
	}
	o.Provider, o.Stream = "acme", w.stream
	c, err := w.open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func prompt(text string) model.Request {
	return model.Request{Messages: []model.Message{{Role: model.RoleSystem, Text: "be brief"}, {Role: model.RoleUser, Text: text}}}
}

// want is what comes of a call. Zero: a good answer.
type want struct {
	kind   model.Kind
	code   contracts.Code
	retry  bool
	wait   time.Duration // 0: not compared
	shown  bool          // in a stream, something was shown before
	finish string        // of a good answer; empty: stop
	words  string        // in the operator's text
}

var (
	busy     = want{kind: model.KindBusy, code: contracts.CodeModelFailed, retry: true}
	down     = want{kind: model.KindDown, code: contracts.CodeModelFailed, retry: true, wait: time.Second}
	operator = want{kind: model.KindOperator, code: contracts.CodeModelFailed, retry: true, wait: 30 * time.Second}
	unknown  = want{kind: model.KindUnknown, code: contracts.CodeModelFailed}
	refused  = want{kind: model.KindRequest, code: contracts.CodeModelFailed}
	tooLong  = want{kind: model.KindTooLong, code: contracts.CodeModelFailed}
	filtered = want{kind: model.KindFiltered, code: contracts.CodeModelFailed}
	late     = want{kind: model.KindTimeout, code: contracts.CodeModelTimeout, retry: true}
	long     = want{kind: model.KindLong, code: contracts.CodeModelTimeout, retry: true}
	unfit    = want{kind: model.KindUnfit, code: contracts.CodeModelAnswer, retry: true}
	bad      = want{kind: model.KindAnswer, code: contracts.CodeModelAnswer, retry: true}
	oversize = want{kind: model.KindOversize, code: contracts.CodeModelAnswer}
	noRoom   = want{kind: model.KindNoRoom, code: contracts.CodeModelAnswer}
)

func (w want) after(d time.Duration) want { w.wait = d; return w }
func (w want) saying(s string) want       { w.words = s; return w }
func (w want) showing() want              { w.shown = true; return w }

// hostile is one row: what the provider does, and what comes of it.
type hostile struct {
	m    string // the case in the requirements
	name string
	do   func(w way) modeltest.Behavior
	with upstream.Options
	want func(w way) want
}

func always(b modeltest.Behavior) func(way) modeltest.Behavior {
	return func(way) modeltest.Behavior { return b }
}

func each(w want) func(way) want { return func(way) want { return w } }

// where gives a where it holds, else b.
func where(holds func(way) bool, a, b want) func(way) want {
	return func(w way) want {
		if holds(w) {
			return a
		}
		return b
	}
}

func streamed(w way) bool { return w.stream }

func status(code int, header ...string) func(way) modeltest.Behavior {
	b := modeltest.Behavior{Kind: modeltest.Status, Status: code, Header: map[string]string{}}
	for i := 0; i+1 < len(header); i += 2 {
		b.Header[header[i]] = header[i+1]
	}
	return always(b)
}

func refusing(code int, body string) func(way) modeltest.Behavior {
	return always(modeltest.Behavior{Kind: modeltest.Status, Status: code, Body: body})
}

// raw is a body as it is, or as one event.
func raw(openAI, openAIChunk, anthropic, anthropicEvent string) func(way) modeltest.Behavior {
	return func(w way) modeltest.Behavior {
		texts := [2][2]string{{anthropic, anthropicEvent}, {openAI, openAIChunk}}
		text := texts[place(w.openAI)][place(w.stream)]
		if w.stream {
			text = "data: " + text + "\n\n"
		}
		return modeltest.Behavior{Kind: modeltest.Raw, Body: text}
	}
}

func place(second bool) int {
	if second {
		return 1
	}
	return 0
}

func kindOf(k modeltest.Kind) func(way) modeltest.Behavior {
	return always(modeltest.Behavior{Kind: k})
}

// one way for all: a body that is no answer in any protocol.
func nonsense(body string) func(way) modeltest.Behavior { return raw(body, body, body, body) }

func rows() []hostile {
	date := noon.Add(20 * time.Second).Format(http.TimeFormat)
	small := upstream.Options{MaxResponse: 64 << 10}
	held := modeltest.Behavior{Gate: modeltest.NewGate()} // never opened: the connection hangs
	html := always(modeltest.Behavior{Kind: modeltest.Raw, Body: "<html>", Header: map[string]string{"Content-Type": "text/html"}})
	return []hostile{
		{m: "M1", name: "429", do: status(429), want: each(busy.after(time.Second))},
		{m: "M1", name: "429 in 30 s", do: status(429, "Retry-After", "30"), want: each(busy.after(30 * time.Second))},
		{m: "M1", name: "429 in a day", do: status(429, "Retry-After", "86400"), want: each(busy.after(time.Minute))},
		{m: "M1", name: "429 until a date", do: status(429, "Retry-After", date), want: each(busy.after(20 * time.Second))},
		{m: "M1", name: "429 in the past", do: status(429, "Retry-After", "-4"), want: each(busy.after(time.Second))},
		{m: "M2", name: "500", do: status(500), want: each(down)},
		{m: "M2", name: "502", do: status(502), want: each(down)},
		{m: "M2", name: "503 in 7 s", do: status(503, "Retry-After", "7"), want: each(down.after(7 * time.Second))},
		{m: "M2", name: "529 overloaded", do: status(529), want: each(down)},
		{m: "M2", name: "reset", do: kindOf(modeltest.Reset), want: each(down)},
		{m: "M2", name: "an error on the way", do: always(modeltest.Behavior{Kind: modeltest.Fail, Body: "overloaded_error"}),
			want: where(streamed, down.showing(), down)},
		{m: "M3", name: "401", do: status(401), want: each(operator.saying("401"))},
		{m: "M3", name: "403", do: status(403), want: each(operator.saying("403"))},
		{m: "M3", name: "402", do: status(402), want: each(operator.saying("402"))},
		{m: "M3", name: "a quota in a 429", do: refusing(429, `{"error":{"type":"insufficient_quota","code":"insufficient_quota"}}`), want: each(operator)},
		{m: "M3", name: "a credit in a 400", do: refusing(400, `{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}`), want: each(operator)},
		{m: "M3", name: "moved", do: status(307, "Location", "/v1/messages"), want: each(operator)},
		{m: "M3", name: "no such model", do: status(404), want: each(unknown)},
		{m: "M3", name: "a model that the project may not use", do: refusing(403, `{"error":{"type":"invalid_request_error","code":"model_not_found"}}`), want: each(unknown)},
		{m: "M3", name: "a model whose name speaks of money", do: refusing(404, `{"error":{"message":"The model 'insufficient_quota' does not exist","code":"model_not_found"}}`), want: each(unknown)},
		{m: "M3", name: "a parameter that speaks of money", do: refusing(400, `{"error":{"message":"Invalid value: 'Your credit balance is too low'","type":"invalid_request_error"}}`), want: each(refused)},
		{m: "M4", name: "413", do: status(413), want: each(tooLong)},
		{m: "M4", name: "code", do: refusing(400, `{"error":{"type":"invalid_request_error","code":"context_length_exceeded"}}`), want: each(tooLong)},
		{m: "M4", name: "words", do: refusing(400, `{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens"}}`), want: each(tooLong)},
		{m: "M4", name: "vLLM's words", do: refusing(400, `{"message":"This model's maximum context length is 4096 tokens","code":400}`), want: each(tooLong)},
		{m: "M4", name: "larger than the limit of a minute", do: refusing(429, `{"error":{"message":"Request too large for gpt-x on tokens per min (TPM): Limit 1, Requested 2.","type":"tokens","code":"rate_limit_exceeded"}}`), want: each(tooLong)},
		{m: "M4", name: "words of a user", do: refusing(400, `{"error":{"message":"bad: `+strings.Repeat("x", 200)+`prompt is too long"}}`), want: each(refused)},
		{m: "M4", name: "another 400", do: status(400), want: each(refused)},
		{m: "M5", name: "hang", do: always(held), with: upstream.Options{FirstToken: near}, want: each(late.saying("first token"))},
		{m: "M5", name: "no first byte", do: kindOf(modeltest.Silent), with: upstream.Options{FirstToken: near}, want: each(late.saying("first token"))},
		{m: "M6", name: "idle", do: kindOf(modeltest.Stall), with: upstream.Options{Idle: near},
			want: where(streamed, late.showing().saying("further bytes"), late.saying("further bytes"))},
		{m: "M6", name: "drip, total", do: always(modeltest.Behavior{Kind: modeltest.Drip, Every: 20 * time.Millisecond}), with: upstream.Options{Total: 10 * near},
			want: where(streamed, late.saying("complete answer"), long.saying("complete answer"))}, // no token is whole by then
		{m: "M6", name: "without an end, total", do: always(modeltest.Behavior{Kind: modeltest.Endless, Every: 5 * time.Millisecond}), with: upstream.Options{Total: 10 * near},
			want: where(streamed, long.showing().saying("complete answer"), long.saying("complete answer"))},
		{m: "M6", name: "drip, first token", do: always(modeltest.Behavior{Kind: modeltest.Drip, Every: time.Hour}), with: upstream.Options{FirstToken: near, Idle: near},
			want: each(late)},
		{m: "M8", name: "1 GB", do: always(modeltest.Behavior{Kind: modeltest.Giant, Size: 1 << 30}), with: small, want: each(oversize)},
		{m: "M8", name: "endless", do: kindOf(modeltest.Endless), with: small, want: where(streamed, oversize.showing(), oversize)},
		{m: "M9", name: "HTML", do: html, want: each(bad)},
		{m: "M9", name: "no JSON", do: nonsense("upstream?"), want: each(bad)},
		{m: "M9", name: "two documents", do: nonsense("{}{}"), want: each(bad)},
		{m: "M9", name: "null", do: nonsense("null"), want: each(bad)},
		{m: "M9", name: "nothing", do: always(modeltest.Behavior{Kind: modeltest.Raw}), want: each(bad)},
		{m: "M9", name: "empty", do: raw(`{"choices":[]}`, `{"choices":[]}`, `{"type":"message","content":[]}`, `{"type":"message_stop"}`), want: each(bad)},
		{m: "M9", name: "no text", do: raw(`{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}`, `{"choices":[{"delta":{},"finish_reason":"stop"}]}`,
			`{"type":"message","content":[],"stop_reason":"end_turn"}`, `{"type":"message_delta","delta":{"stop_reason":"end_turn"}}`+"\n\ndata: {\"type\":\"message_stop\"}"), want: each(unfit)},
		{m: "M9", name: "wrong types", do: raw(`{"choices":[{"message":{"content":7}}]}`, `{"choices":[{"delta":{"content":7}}]}`,
			`{"type":"message","content":[{"type":"text","text":7}]}`, `{"type":"content_block_delta","delta":{"type":"text_delta","text":7}}`), want: each(bad)},
		{m: "M9", name: "wrong lists", do: raw(`{"choices":{"a":1}}`, `{"choices":"x"}`, `{"type":"message","content":"x"}`, `{"type":"content_block_start","content_block":[]}`), want: each(bad)},
		{m: "M9", name: "only space", do: raw(`{"choices":[{"message":{"content":" "},"finish_reason":"stop"}]}`, `{"choices":[{"delta":{"content":null},"finish_reason":"stop"}]}`,
			`{"type":"message","content":[{"type":"text","text":" "}],"stop_reason":"end_turn"}`, `{"type":"message_delta","delta":{"stop_reason":"end_turn"}}`+"\n\ndata: {\"type\":\"message_stop\"}"), want: each(unfit)},
		{m: "M9", name: "a call at an absurd place", do: always(modeltest.Behavior{At: 1 << 40, Calls: []modeltest.Call{{ID: "c", Name: "f", Arguments: "{}"}}}),
			want: func(w way) want { // Anthropic's places only tell its blocks apart
				if !w.openAI {
					return want{finish: model.FinishTools}
				}
				if w.stream {
					return unfit.showing()
				}
				return unfit
			}},
		{m: "M9", name: "a call below all places", do: always(modeltest.Behavior{At: -1, Calls: []modeltest.Call{{ID: "c", Name: "f", Arguments: "{}"}}}),
			want: func(w way) want {
				if !w.openAI {
					return want{finish: model.FinishTools}
				}
				if w.stream {
					return bad.showing()
				}
				return bad
			}},
		{m: "M9", name: "a call without a name", do: always(modeltest.Behavior{Calls: []modeltest.Call{{ID: "c", Arguments: "{}"}}}), want: where(streamed, bad.showing(), bad)},
		{m: "M10", name: "cut", do: kindOf(modeltest.Cut), want: where(streamed, bad.showing(), bad)},
		{m: "M10", name: "aborted", do: kindOf(modeltest.Abort), want: where(streamed, bad.showing(), bad)},
		{m: "M10", name: "no terminator", do: kindOf(modeltest.Hushed),
			want: where(func(w way) bool { return w.stream && !w.openAI }, bad.showing(), want{})},
		{m: "M10", name: "finished twice", do: always(modeltest.Behavior{Twice: true}), want: each(want{})},
		{m: "M12", name: "length", do: always(modeltest.Behavior{Finish: "length"}), want: each(want{finish: model.FinishLength})},
		{m: "M12", name: "length before a text", do: raw(`{"choices":[{"message":{"content":""},"finish_reason":"length"}]}`, `{"choices":[{"delta":{},"finish_reason":"length"}]}`,
			`{"type":"message","content":[],"stop_reason":"max_tokens"}`, `{"type":"message_delta","delta":{"stop_reason":"max_tokens"}}`+"\n\ndata: {\"type\":\"message_stop\"}"), want: each(noRoom)},
		{m: "M12", name: "filtered", do: always(modeltest.Behavior{Finish: "content_filter"}), want: where(streamed, filtered.showing(), filtered)},
		{m: "M12", name: "filtered before", do: refusing(400, `{"error":{"code":"content_filter"}}`), want: each(filtered)},
		{m: "M12", name: "flagged", do: refusing(403, `{"error":{"code":403,"message":"flagged","metadata":{"reasons":["x"],"flagged_input":"y"}}}`), want: each(filtered)},
		{m: "M14", name: "401 that quotes", do: refusing(401, `{"error":{"message":"bad key {key}","type":"{key}","code":"{key}"}}`), want: each(operator)},
		{m: "M14", name: "500 that quotes", do: refusing(500, `{"error":{"code":"{key}"}}`), want: each(down)},
		{m: "M14", name: "a stream that quotes", do: always(modeltest.Behavior{Kind: modeltest.Fail, Body: canary}), want: where(streamed, down.showing(), down)},
		{m: "M17", name: "no usage", do: always(modeltest.Behavior{Usage: "none"}), want: each(want{})},
		{m: "M17", name: "negative usage", do: always(modeltest.Behavior{Usage: `{"prompt_tokens":-1,"completion_tokens":-5,"input_tokens":-1,"output_tokens":-5}`}), want: each(want{})},
		{m: "M17", name: "huge usage", do: always(modeltest.Behavior{Usage: `{"prompt_tokens":1e300,"completion_tokens":2e10,"input_tokens":1e300,"output_tokens":2e10,"cache_read_input_tokens":1e18}`}), want: each(want{})},
		{m: "M17", name: "odd usage", do: always(modeltest.Behavior{Usage: `["x"]`}), want: each(want{})},
	}
}

// The cases M of the requirements, against every protocol and both forms of an
// answer. M16 and M18, and what M1 and M2 want of other providers, belong to the
// chain and the cache; M15 has a test of its own.
func TestHostileProvider(t *testing.T) {
	for _, row := range rows() {
		for _, w := range ways() {
			t.Run(fmt.Sprintf("%s %s/%s", row.m, row.name, w.name), func(t *testing.T) {
				b := row.do(w)
				s := modeltest.New(modeltest.Options{Key: canary, Behave: func(modeltest.Request) modeltest.Behavior { return b }})
				t.Cleanup(s.Close)
				o := row.with
				o.Endpoint = s.URL
				var shown strings.Builder
				r := prompt("hi")
				r.OnDelta = func(d string) { shown.WriteString(d) }
				a, err := w.connect(t, o).Complete(t.Context(), r)
				row.want(w).check(t, a, err, shown.String())
				if n := len(s.Requests()); n > 1 {
					t.Errorf("asked %d times", n)
				}
			})
		}
	}
}

func (w want) check(t *testing.T, a model.Answer, err error, shown string) {
	t.Helper()
	if w.kind == model.KindNone {
		w.checkAnswer(t, a, err, shown)
		return
	}
	checkError(t, err)
	e, ok := errors.AsType[*contracts.Error](err)
	if !ok {
		t.Fatalf("err = %v, want a *contracts.Error", err)
	}
	if k := model.KindOf(err); k != w.kind || e.Code != w.code || e.Retryable != w.retry || (w.wait != 0 && e.RetryAfter != w.wait) {
		t.Errorf("got %s, %s, retryable %v after %s; want %s, %+v: %v", k, e.Code, e.Retryable, e.RetryAfter, w.kind, w, err)
	}
	if (shown != "") != w.shown {
		t.Errorf("shown %q, want %v", shown, w.shown)
	}
	if !strings.Contains(err.Error(), w.words) {
		t.Errorf("no %q in %v", w.words, err)
	}
}

func (w want) checkAnswer(t *testing.T, a model.Answer, err error, shown string) {
	t.Helper()
	finish := model.FinishStop
	if w.finish != "" {
		finish = w.finish
	}
	if err != nil || a.Text != "echo: hi" || shown != a.Text || a.Finish != finish {
		t.Fatalf("answer = %+v, %v, shown %q", a, err, shown)
	}
	if u := a.Usage; u.PromptTokens < 1 || u.PromptTokens > 100 || u.CompletionTokens < 1 || u.CompletionTokens > 100 {
		t.Errorf("usage = %+v", u)
	}
}

// checkError holds what is true of every error: no key in it, no words of the
// provider in what the client reads, an operator's text of bounded size.
func checkError(t *testing.T, err error) {
	t.Helper()
	e, ok := errors.AsType[*contracts.Error](err)
	if !ok {
		t.Fatalf("err = %v, want a *contracts.Error", err)
	}
	if e.Retryable != (e.RetryAfter > 0) || e.RetryAfter > time.Minute {
		t.Errorf("retryable %v, but retry after %s", e.Retryable, e.RetryAfter)
	}
	if len(err.Error()) > 700 || strings.ContainsAny(err.Error(), "\r\n") {
		t.Errorf("%d bytes of error: %q", len(err.Error()), err)
	}
	for i := 0; i+8 <= len(canary); i++ {
		if strings.Contains(err.Error()+fmt.Sprintf("%+v", e), canary[i:i+8]) {
			t.Fatalf("the error leaks the key: %v", err)
		}
	}
}
