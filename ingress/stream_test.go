package ingress_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/ingress"
)

// event is one server-sent event; a comment has only its text.
type event struct{ id, name, data, comment string }

func (e event) text(t testing.TB) string {
	t.Helper()
	var d contracts.StreamDelta
	if err := json.Unmarshal([]byte(e.data), &d); err != nil || e.name != "delta" {
		t.Fatalf("no delta: %+v", e)
	}
	return d.Text
}

func (e event) chat(t testing.TB, name string) contracts.ChatReply {
	t.Helper()
	var c contracts.ChatReply
	if err := json.Unmarshal([]byte(e.data), &c); err != nil || e.name != name {
		t.Fatalf("no %s: %+v", name, e)
	}
	return c
}

// stream is an open stream of events.
type stream struct {
	t      testing.TB
	res    *http.Response
	events chan event // closed at the end
	cancel context.CancelFunc
}

func (r *rig) stream(method, path, body string, with ...string) *stream {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	res, err := r.client.Do(r.request(ctx, method, path, body, with...))
	if err != nil {
		cancel()
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	if kind := res.Header.Get("Content-Type"); res.StatusCode != 200 || kind != "text/event-stream" {
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		cancel()
		r.t.Fatalf("%s %s: %d %s %s", method, path, res.StatusCode, kind, b)
	}
	s := &stream{r.t, res, make(chan event, 1000), cancel}
	ended := make(chan struct{})
	go func() { defer close(ended); s.read() }()
	r.t.Cleanup(func() { cancel(); <-ended; res.Body.Close() })
	return s
}

func (s *stream) read() {
	defer close(s.events)
	var e event
	for lines := bufio.NewScanner(s.res.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case lines.Text() == "":
			s.events <- e
			e = event{}
		case name == "id":
			e.id = value
		case name == "event":
			e.name = value
		case name == "data":
			e.data += value
		default:
			e.comment = lines.Text()
		}
	}
}

// next is the next event that is no sign of life.
func (s *stream) next() event {
	s.t.Helper()
	for {
		e := await(s.t, "an event", s.events)
		if e.comment == "" {
			return e
		}
	}
}

func (s *stream) ends() {
	s.t.Helper()
	if e := s.next(); e != (event{}) {
		s.t.Errorf("more came: %+v", e)
	}
}

// piece sends a piece of an answer as a worker does.
func (r *rig) piece(m contracts.Message, run int64, offset int, text string) {
	r.t.Helper()
	r.pieceTo("n1", m, run, offset, text)
}

func (r *rig) pieceTo(node string, m contracts.Message, run int64, offset int, text string) {
	r.t.Helper()
	b, err := contracts.EncodeDelta(contracts.Delta{ID: m.ID, Run: run, Attempt: int(run), Offset: offset, Text: text}, place{})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.test.Publish(contracts.SubjectReply(node), b); err != nil {
		r.t.Fatal(err)
	}
}

// ending is a run that ends with the text it is sent.
func ending(t testing.TB, texts <-chan contracts.Result) func(contracts.Message) (contracts.Result, bool) {
	return func(m contracts.Message) (contracts.Result, bool) {
		select {
		case r := <-texts:
			full, _ := answered(m)
			full.Reply, full.Run, full.Code, full.Detail = r.Reply, r.Run, r.Code, r.Detail
			return full, true
		case <-t.Context().Done():
			return contracts.Result{}, false
		}
	}
}

func TestStream(t *testing.T) {
	r := newRig(t)
	end := make(chan contracts.Result, 1)
	w := r.work(ending(t, end))
	s := r.stream("POST", "/api/chat", say("hi", `"stream":true`, `"session_id":"s"`))
	if h := s.res.Header; !strings.Contains(h.Get("Cache-Control"), "no-store") || h.Get("X-Accel-Buffering") != "no" || h.Get("X-Request-Id") == "" {
		t.Errorf("headers %v", h)
	}
	m := await(t, "the message", w.taken)
	if m.Flags != contracts.FlagStream || m.ReplyTo == "" {
		t.Errorf("flags %b, reply to %q", m.Flags, m.ReplyTo)
	}
	a := s.next().chat(t, "accepted")
	if a.ID != m.ID || a.SessionID != "s" || a.Status != "pending" || a.Location != "/api/chat/"+m.ID {
		t.Errorf("accepted %+v", a)
	}
	r.piece(m, 7, 0, "Grüß")
	if e := s.next(); e.text(t) != "Grüß" || e.id != "7-6" {
		t.Errorf("first piece %+v", e)
	}
	r.piece(m, 7, 0, "Grüß Gott\n") // from the beginning, as for somebody who came late
	if e := s.next(); e.text(t) != " Gott\n" || e.id != "7-12" {
		t.Errorf("second piece %+v", e)
	}
	end <- contracts.Result{Reply: "Grüß Gott\n!", Run: 7}
	if e := s.next(); e.text(t) != "!" || e.id != "7-13" {
		t.Errorf("the rest %+v", e)
	}
	if d := s.next().chat(t, "done"); d.Reply != "Grüß Gott\n!" || d.Status != "done" || d.SessionID != "s" || d.Usage == nil || d.Location != "" {
		t.Errorf("done %+v", d)
	}
	s.ends()
}

// The message is run again, by a worker that knows nothing of the first one.
func TestStreamStartsAgain(t *testing.T) {
	r := newRig(t)
	end := make(chan contracts.Result, 1)
	w := r.work(ending(t, end))
	s := r.stream("POST", "/api/chat", say("hi", `"stream":true`))
	m := await(t, "the message", w.taken)
	s.next()
	r.piece(m, 1, 0, "one")
	if e := s.next(); e.text(t) != "one" {
		t.Errorf("%+v", e)
	}
	r.piece(m, 2, 0, "two")
	if e := s.next(); e.name != "reset" || e.data != `{"attempt":2}` || e.id != "2-0" {
		t.Errorf("%+v", e)
	}
	if e := s.next(); e.text(t) != "two" || e.id != "2-3" {
		t.Errorf("%+v", e)
	}
	r.piece(m, 1, 3, " late words of a dead worker")
	end <- contracts.Result{Reply: "two and a half", Run: 2}
	if e := s.next(); e.text(t) != " and a half" {
		t.Errorf("%+v", e)
	}
	s.next().chat(t, "done")
}

// The answer is another one than the pieces told: it is shown whole.
func TestStreamOfAnotherAnswer(t *testing.T) {
	r := newRig(t)
	end := make(chan contracts.Result, 1)
	w := r.work(ending(t, end))
	s := r.stream("POST", "/api/chat", say("hi", `"stream":true`))
	m := await(t, "the message", w.taken)
	s.next()
	r.piece(m, 1, 0, "abc")
	s.next()
	end <- contracts.Result{Reply: "abd and so on", Run: 1}
	if e := s.next(); e.name != "reset" {
		t.Errorf("%+v", e)
	}
	if e := s.next(); e.text(t) != "abd and so on" || e.id != "1-13" {
		t.Errorf("%+v", e)
	}
	s.next().chat(t, "done")
}

func TestStreamEndsWithAnError(t *testing.T) {
	r := newRig(t)
	end := make(chan contracts.Result, 1)
	w := r.work(ending(t, end))
	s := r.stream("POST", "/api/chat", say("hi", `"stream":true`))
	m := await(t, "the message", w.taken)
	s.next()
	r.piece(m, 1, 0, "abc")
	s.next()
	end <- contracts.Result{Code: contracts.CodeModelTimeout, Detail: "too slow"}
	e := s.next()
	var p contracts.Problem
	if err := json.Unmarshal([]byte(e.data), &p); err != nil || e.name != "error" {
		t.Fatalf("%+v %v", e, err)
	}
	if p.Code != contracts.CodeModelTimeout || p.Status != 504 || p.ID != m.ID || p.RequestID == "" {
		t.Errorf("%+v", p)
	}
	s.ends()
}

// What is refused before it is stored is answered as ever.
func TestStreamRefused(t *testing.T) {
	r := newRig(t)
	problem(t, r.post(say(" ", `"stream":true`)), contracts.CodeBadRequest)
	problem(t, r.post(say("hi", `"stream":true`), "Authorization:"), contracts.CodeUnauthorized)
	r.broker.stop()
	problem(t, r.post(say("hi", `"stream":true`)), contracts.CodeQueueDown)
}

// Where the answer does not come in time, the client learns where it will be.
func TestStreamPending(t *testing.T) {
	for name, c := range map[string]struct {
		body   string
		change func(*ingress.Options)
	}{
		"cap":      {say("hi", `"stream":true`), func(o *ingress.Options) { o.StreamCap = 20 * time.Millisecond }},
		"timeout":  {say("hi", `"stream":true`, `"timeout":0`), func(*ingress.Options) {}},
		"too many": {say("hi", `"stream":true`), func(o *ingress.Options) { o.MaxWaiting = -1 }},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, c.change)
			s := r.stream("POST", "/api/chat", c.body)
			a := s.next().chat(t, "accepted")
			p := s.next().chat(t, "pending")
			if p.ID != a.ID || p.Location != "/api/chat/"+a.ID || p.Status != "pending" {
				t.Errorf("%+v", p)
			}
			s.ends()
		})
	}
}

// A request that is repeated streams what is there, and what follows.
func TestStreamRepeated(t *testing.T) {
	r := newRig(t)
	end := make(chan contracts.Result, 1)
	w := r.work(ending(t, end))
	body, key := say("hi", `"stream":true`), "Idempotency-Key: k"
	first := r.stream("POST", "/api/chat", body, key)
	m := await(t, "the message", w.taken)
	first.next()
	r.piece(m, 3, 0, "some ")
	first.next()
	second := r.stream("POST", "/api/chat", body, key)
	if a := second.next().chat(t, "accepted"); a.ID != m.ID {
		t.Errorf("%+v", a)
	}
	await(t, "the question for what there is", w.asked)
	r.piece(m, 3, 5, "more ") // overtakes the answer to the question
	if e := first.next(); e.text(t) != "more " {
		t.Errorf("%+v", e)
	}
	r.piece(m, 3, 0, "some more ")
	if e := second.next(); e.text(t) != "some more " || e.id != "3-10" {
		t.Errorf("%+v", e)
	}
	end <- contracts.Result{Reply: "some more text", Run: 3}
	for _, s := range []*stream{first, second} {
		if e := s.next(); e.text(t) != "text" {
			t.Errorf("%+v", e)
		}
		s.next().chat(t, "done")
	}
	third := r.stream("POST", "/api/chat", body, key)
	third.next().chat(t, "accepted")
	if e := third.next(); e.text(t) != "some more text" || e.id != "3-14" {
		t.Errorf("%+v", e)
	}
	third.next().chat(t, "done")
	third.ends()
}

// The server stops: whoever reads along learns where the answer will be.
func TestStreamAtShutdown(t *testing.T) {
	r := newRig(t, func(o *ingress.Options) { o.DrainWait = time.Millisecond })
	s := r.stream("POST", "/api/chat", say("hi", `"stream":true`))
	s.next().chat(t, "accepted")
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	s.next().chat(t, "pending")
	s.ends()
}

// A quiet stream shows signs of life.
func TestStreamStaysAlive(t *testing.T) {
	r := newRig(t, func(o *ingress.Options) { o.KeepAlive = time.Millisecond })
	s := r.stream("POST", "/api/chat", say("hi", `"stream":true`))
	s.next().chat(t, "accepted")
	for range 3 {
		if e := await(t, "a sign of life", s.events); e.comment != ":" {
			t.Errorf("%+v", e)
		}
	}
}
