package ingress_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/ingress"
)

// givenUp gets the ids of messages that nobody can read the answer of.
type givenUp chan string

func (g givenUp) Abandon(_ context.Context, id contracts.ID) (bool, error) {
	g <- id.String()
	return false, nil
}

// noting is an ingress whose abandoned messages the test sees.
func noting(t *testing.T, change ...func(*ingress.Options)) (*rig, givenUp) {
	t.Helper()
	g := make(givenUp, 100)
	return newOpenAIRig(t, append(change, func(o *ingress.Options) { o.Abandoner = g })...), g
}

// telling is a run that shows pieces and then ends as it is told.
func (r *rig) telling(end <-chan contracts.Result, pieces ...string) func(contracts.Message) (contracts.Result, bool) {
	return func(m contracts.Message) (contracts.Result, bool) {
		offset := 0
		for _, p := range pieces {
			r.piece(m, 1, offset, p)
			offset += len(p)
		}
		return ending(r.t, end)(m)
	}
}

// chunks gives the data of all events to the end of a stream.
func (s *stream) chunks() (all []string) {
	s.t.Helper()
	for {
		e := s.next()
		if e == (event{}) {
			return all
		}
		if e.name != "" || e.id != "" {
			s.t.Errorf("an event with a name or an id: %+v", e)
		}
		all = append(all, e.data)
	}
}

// steady is a chunk without what differs from run to run.
func steady(data string) string {
	var members map[string]json.RawMessage
	if json.Unmarshal([]byte(data), &members) != nil {
		return data
	}
	for _, name := range []string{"id", "created", "object", "model"} {
		delete(members, name)
	}
	b, _ := json.Marshal(members)
	return string(b)
}

func same(t *testing.T, got []string, want ...string) {
	t.Helper()
	for i := range got {
		got[i] = steady(got[i])
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

const streaming = `"stream":true`

func TestCompletionStream(t *testing.T) {
	r := newOpenAIRig(t)
	end := make(chan contracts.Result, 1)
	end <- contracts.Result{Reply: "one two", Run: 1}
	w := r.work(r.telling(end, "one ", "two"))
	s := r.stream("POST", "/v1/chat/completions", ask(user("hi"), streaming, `"stream_options":{"include_usage":true}`))
	m := await(t, "the message", w.taken)
	if m.Flags != contracts.FlagStream|contracts.FlagShown|contracts.FlagUnkept || m.ReplyTo == "" {
		t.Errorf("message %+v", m)
	}
	got := s.chunks()
	if !strings.HasPrefix(got[0], `{"id":"chatcmpl-`+m.ID+`","object":"chat.completion.chunk","created":`) || !strings.Contains(got[0], `,"model":"fast",`) {
		t.Errorf("first chunk %s", got[0])
	}
	text := ""
	var rest []string
	for i, g := range got {
		if delta, found := strings.CutPrefix(steady(g), `{"choices":[{"index":0,"delta":{"content":"`); found && i > 0 {
			text += delta[:strings.IndexByte(delta, '"')]
			continue
		}
		rest = append(rest, g)
	}
	if text != "one two" {
		t.Errorf("text %q", text)
	}
	same(t, rest,
		`{"choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}`,
		`{"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"system_fingerprint":"demo-1","usage":null}`,
		`{"choices":[],"system_fingerprint":"demo-1","usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`, "[DONE]")
}

// Pieces that got lost come with the result; without include_usage there is none.
func TestCompletionStreamFromTheResult(t *testing.T) {
	r := newOpenAIRig(t)
	r.work(answered)
	for range 2 { // the second time the result is there already
		s := r.stream("POST", "/v1/chat/completions", ask(user("hi"), streaming), "Idempotency-Key: k")
		same(t, s.chunks(),
			`{"choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}]}`,
			`{"choices":[{"index":0,"delta":{"content":"you said hi"},"logprobs":null,"finish_reason":null}]}`,
			`{"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"system_fingerprint":"demo-1"}`, "[DONE]")
	}
}

// What is missing at the end of the pieces is in the result, too.
func TestCompletionStreamWithAGap(t *testing.T) {
	r := newOpenAIRig(t)
	end := make(chan contracts.Result, 1)
	r.work(r.telling(end, "one "))
	s := r.stream("POST", "/v1/chat/completions", ask(user("hi"), streaming))
	s.next() // who speaks
	if e := s.next(); !strings.Contains(e.data, `"content":"one "`) {
		t.Fatalf("first piece: %+v", e)
	}
	end <- contracts.Result{Reply: "one two", Run: 1}
	same(t, s.chunks(),
		`{"choices":[{"index":0,"delta":{"content":"two"},"logprobs":null,"finish_reason":null}]}`,
		`{"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"system_fingerprint":"demo-1"}`, "[DONE]")
}

func TestCompletionStreamOfCalls(t *testing.T) {
	r := newOpenAIRig(t)
	r.work(func(m contracts.Message) (contracts.Result, bool) {
		a, _ := answered(m)
		a.Reply, a.ToolCalls, a.Finish = "", []contracts.ToolCall{{ID: "c1", Name: "f", Arguments: "{}"}, {ID: "c2", Name: "g", Arguments: "{}"}}, "tool_calls"
		return a, true
	})
	s := r.stream("POST", "/v1/chat/completions", ask(user("hi"), streaming))
	same(t, s.chunks(),
		`{"choices":[{"index":0,"delta":{"role":"assistant","content":null,"refusal":null},"logprobs":null,"finish_reason":null}]}`,
		`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]},"logprobs":null,"finish_reason":null}]}`,
		`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"c2","type":"function","function":{"name":"g","arguments":"{}"}}]},"logprobs":null,"finish_reason":null}]}`,
		`{"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"tool_calls"}],"system_fingerprint":"demo-1"}`, "[DONE]")
}

// An error before the first token is an answer with a status of its own.
func TestCompletionStreamFailedAtOnce(t *testing.T) {
	r := newOpenAIRig(t)
	r.work(func(m contracts.Message) (contracts.Result, bool) {
		return contracts.Failed(m, contracts.CodeModelFailed, "no", m.Accepted), true
	})
	if res := r.complete(ask(user("hi"), streaming)); refused(t, res, 502, "model_failed").Type != "server_error" || res.header.Get("X-Should-Retry") != "false" {
		t.Errorf("%s %v", res.body, res.header)
	}
}

// Later it is the last event, and [DONE] does not follow.
func TestCompletionStreamFailedLater(t *testing.T) {
	const failure = `{"error":{"message":"no","type":"server_error","param":null,"code":"model_failed"}}`
	const unsaid = `{"error":{"message":"the answer broke off after its beginning had been sent; ask again","type":"server_error","param":null,"code":"model_failed"}}`
	for name, c := range map[string]struct {
		then func(r *rig, m contracts.Message, end chan contracts.Result)
		last string
	}{
		"failed": {func(_ *rig, _ contracts.Message, end chan contracts.Result) {
			end <- contracts.Result{Code: contracts.CodeModelFailed, Detail: "no"}
		}, failure},
		"a newer run": {func(r *rig, m contracts.Message, _ chan contracts.Result) { r.piece(m, 2, 0, "other") }, unsaid},
		"another result": {func(_ *rig, _ contracts.Message, end chan contracts.Result) {
			end <- contracts.Result{Reply: "other", Run: 2}
		}, unsaid},
	} {
		t.Run(name, func(t *testing.T) {
			r, cancels := noting(t)
			end := make(chan contracts.Result, 1)
			w := r.work(r.telling(end, "one "))
			s := r.stream("POST", "/v1/chat/completions", ask(user("hi"), streaming))
			m := await(t, "the message", w.taken)
			s.next() // who speaks
			if e := s.next(); !strings.Contains(e.data, `"content":"one "`) {
				t.Fatalf("first piece: %+v", e)
			}
			c.then(r, m, end)
			if got := s.chunks(); len(got) != 1 || got[0] != c.last {
				t.Errorf("ended with %q", got)
			}
			if name == "a newer run" && await(t, "the cancel", cancels) != m.ID {
				t.Error("another message was given up")
			}
		})
	}
}

func TestCompletionStreamKeepsAlive(t *testing.T) {
	r := newOpenAIRig(t, func(o *ingress.Options) { o.KeepAlive = 10 * time.Millisecond })
	end := make(chan contracts.Result, 1)
	r.work(ending(t, end))
	s := r.stream("POST", "/v1/chat/completions", ask(user("hi"), streaming)) // its headers came with a sign of life
	if e := await(t, "a sign of life", s.events); e.comment == "" {
		t.Errorf("%+v", e)
	}
	end <- contracts.Result{Reply: "late", Run: 1}
	if got := s.chunks(); got[len(got)-1] != "[DONE]" {
		t.Errorf("%q", got)
	}
}

// A client that goes away takes its model call along, unless it has a key.
func TestCompletionClientGone(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		with []string
		give bool
	}{
		"plain": {ask(user("hi")), nil, true}, "stream": {ask(user("hi"), streaming), nil, true},
		"plain with key":  {ask(user("hi")), []string{"Idempotency-Key: k"}, false},
		"stream with key": {ask(user("hi"), streaming), []string{"Idempotency-Key: k"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r, cancels := noting(t)
			w := r.work(held(t, nil))
			ctx, cancel := context.WithCancel(t.Context())
			gone := make(chan error, 1)
			req := r.request(ctx, http.MethodPost, "/v1/chat/completions", c.body, c.with...)
			go func() { _, err := r.do(req); gone <- err }()
			m := await(t, "the message", w.taken)
			cancel()
			if await(t, "the end of the request", gone) == nil {
				t.Fatal("there was an answer")
			}
			if c.give {
				if id := await(t, "the cancel", cancels); id != m.ID {
					t.Errorf("cancelled %s", id)
				}
				return
			}
			if err := r.stop(); err != nil { // then nothing is under way any more
				t.Error(err)
			}
			if len(cancels) != 0 {
				t.Error("a message that can be asked for again was given up")
			}
		})
	}
}
