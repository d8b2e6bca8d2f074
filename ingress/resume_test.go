package ingress_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/ingress"
)

// replica is one more ingress over the same queue and store.
func (r *rig) replica(node string) *rig {
	r.t.Helper()
	other := *r
	other.conn = r.broker.connect()
	other.client = &http.Client{Transport: &http.Transport{}}
	other.run(func(o *ingress.Options) { o.Node = node })
	return &other
}

const eventStream = "Accept: text/event-stream"

// A client that lost its stream goes on at another replica, and at the same one.
func TestResume(t *testing.T) {
	r := newRig(t)
	end := make(chan contracts.Result, 1)
	w := r.work(ending(t, end))
	first := r.stream("POST", "/api/chat", say("hi", `"stream":true`))
	m := await(t, "the message", w.taken)
	path := first.next().chat(t, "accepted").Location
	r.piece(m, 4, 0, "one ")
	last := first.next().id
	first.cancel()

	other := r.replica("n2")
	s := other.stream("GET", path, "", eventStream, "Last-Event-ID: "+last)
	await(t, "the question for what there is", w.asked)
	other.pieceTo("n2", m, 4, 0, "one two ")
	if e := s.next(); e.text(t) != "two " || e.id != "4-8" {
		t.Errorf("%+v", e)
	}
	stale := other.stream("GET", path, "", "Accept: text/html, text/event-stream;q=0.9", "Last-Event-ID: 3-2")
	fresh := other.stream("GET", path, "", eventStream)
	await(t, "the question for what there is", w.asked)
	await(t, "the question for what there is", w.asked)
	other.pieceTo("n2", m, 4, 0, "one two ")
	if e := stale.next(); e.name != "reset" || e.data != `{"attempt":4}` {
		t.Errorf("%+v", e)
	}
	for _, s := range []*stream{stale, fresh} {
		if e := s.next(); e.text(t) != "one two " || e.id != "4-8" {
			t.Errorf("%+v", e)
		}
	}
	end <- contracts.Result{Reply: "one two three", Run: 4}
	for _, s := range []*stream{s, stale, fresh} {
		if e := s.next(); e.text(t) != "three" || e.id != "4-13" {
			t.Errorf("%+v", e)
		}
		s.next().chat(t, "done")
		s.ends()
	}

	for id, want := range map[string][]string{ // of a finished message
		"":     {"delta one two three", "done"},
		"4-8":  {"delta three", "done"},
		"4-13": {"done"},
		"4-14": {"reset", "delta one two three", "done"},
		"3-8":  {"reset", "delta one two three", "done"},
		"3-0":  {"delta one two three", "done"},
	} {
		s := r.stream("GET", path, "", eventStream, "Last-Event-ID: "+id)
		for _, what := range want {
			name, text, _ := strings.Cut(what, " ")
			if e := s.next(); e.name != name || text != "" && e.text(t) != text {
				t.Errorf("after %q: %+v, want %s", id, e, what)
			}
		}
		s.ends()
	}
	if c := r.get(path).chat(t); c.Reply != "one two three" {
		t.Errorf("without a stream: %+v", c)
	}
}

func TestResumeRefused(t *testing.T) {
	r := newRig(t)
	w := r.work(held(t, make(chan struct{})))
	path := r.post(say("hi", `"timeout":0`)).chat(t).ID
	await(t, "the message", w.taken)
	path = "/api/chat/" + path
	for _, id := range []string{"x", "4", "4-", "-4", "4--1", "4-04", "99999999999999999999-0"} {
		problem(t, r.get(path, eventStream, "Last-Event-ID: "+id), contracts.CodeBadRequest)
	}
	problem(t, r.get(path, eventStream, "Authorization: Bearer "+bob), contracts.CodeNotFound)
	problem(t, r.get("/api/chat/none", eventStream), contracts.CodeNotFound)
	problem(t, r.get(path+"?wait=x", eventStream), contracts.CodeBadRequest)
	s := r.stream("GET", path+"?wait=0", "", eventStream)
	s.next().chat(t, "pending")
	s.ends()
}

// A piece got lost: the rest waits for it, and comes at the latest with the result.
func TestStreamWithAGap(t *testing.T) {
	r := newRig(t)
	end := make(chan contracts.Result, 1)
	w := r.work(ending(t, end))
	s := r.stream("POST", "/api/chat", say("hi", `"stream":true`))
	m := await(t, "the message", w.taken)
	s.next()
	r.piece(m, 1, 0, "one ")
	s.next()
	r.piece(m, 1, 8, "three ")
	await(t, "the question for what is missing", w.asked)
	end <- contracts.Result{Reply: "one two three four", Run: 1}
	if e := s.next(); e.text(t) != "two three four" || e.id != "1-18" {
		t.Errorf("%+v", e)
	}
	s.next().chat(t, "done")
}

// Pieces that cannot be read do no harm.
func TestGarbagePieces(t *testing.T) {
	r := newRig(t)
	end := make(chan contracts.Result, 1)
	w := r.work(ending(t, end))
	s := r.stream("POST", "/api/chat", say("hi", `"stream":true`))
	m := await(t, "the message", w.taken)
	s.next()
	for _, b := range []string{"delta ", "delta 3 x y", "delta 3 " + m.ID + " sealed elsewhere", "delta 9 " + m.ID + " x"} {
		if err := r.test.Publish(m.ReplyTo, []byte(b)); err != nil {
			t.Fatal(err)
		}
	}
	r.piece(m, 1, 0, "good")
	if e := s.next(); e.text(t) != "good" {
		t.Errorf("%+v", e)
	}
}

// patientWriter is a connection whose client takes nothing until its deadline.
type patientWriter struct {
	*httptest.ResponseRecorder
	deadline time.Time
	limits   chan time.Duration
}

func (w *patientWriter) SetWriteDeadline(t time.Time) error {
	w.deadline = t
	w.limits <- time.Until(t)
	return nil
}

func (w *patientWriter) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "event: delta") {
		<-time.After(time.Until(w.deadline))
		return 0, http.ErrHandlerTimeout
	}
	return w.ResponseRecorder.Write(b)
}

func (w *patientWriter) FlushError() error { return nil }

// Each event has its own time; a client that does not take one in time is given up.
func TestSlowReaderIsGivenUp(t *testing.T) {
	r := newRig(t, func(o *ingress.Options) { o.WriteWait = 20 * time.Millisecond })
	w := r.work(held(t, make(chan struct{})))
	out := &patientWriter{ResponseRecorder: httptest.NewRecorder(), limits: make(chan time.Duration, 100)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.in.Handler().ServeHTTP(out, r.request(t.Context(), "POST", "/api/chat", say("hi", `"stream":true`)))
	}()
	m := await(t, "the message", w.taken)
	r.piece(m, 1, 0, "nobody reads this")
	await(t, "the end", ended)
	if n := r.in.Waiting(); n != 0 {
		t.Errorf("%d wait", n)
	}
	if len(out.limits) != 3 { // for the header, "accepted" and the piece
		t.Errorf("%d deadlines", len(out.limits))
	}
	for range len(out.limits) {
		if d := <-out.limits; d > 20*time.Millisecond {
			t.Errorf("a deadline in %s", d)
		}
	}
}

// The server's own time for an answer does not end a stream.
func TestStreamOutlivesTheWriteTimeout(t *testing.T) {
	r := newRig(t, func(o *ingress.Options) { o.KeepAlive = 20 * time.Millisecond })
	end := make(chan contracts.Result, 1)
	w := r.work(ending(t, end))
	srv := httptest.NewUnstartedServer(r.in.Handler())
	srv.Config.WriteTimeout = 50 * time.Millisecond
	srv.Start()
	t.Cleanup(srv.Close)
	r.base = srv.URL
	s := r.stream("POST", "/api/chat", say("hi", `"stream":true`))
	s.next().chat(t, "accepted")
	m := await(t, "the message", w.taken)
	for began := time.Now(); time.Since(began) < 150*time.Millisecond; {
		await(t, "a sign of life", s.events)
	}
	r.piece(m, 1, 0, "still there")
	if e := s.next(); e.text(t) != "still there" {
		t.Errorf("%+v", e)
	}
	end <- contracts.Result{Reply: "still there", Run: 1}
	s.next().chat(t, "done")
	s.ends()
}

// A client that leaves is noticed at once, and its message is answered all the same.
func TestStreamLeft(t *testing.T) {
	r := newRig(t)
	end := make(chan contracts.Result, 1)
	w := r.work(ending(t, end))
	s := r.stream("POST", "/api/chat", say("hi", `"stream":true`))
	m := await(t, "the message", w.taken)
	s.next()
	s.cancel()
	for deadline := time.Now().Add(patient); r.in.Waiting() > 0; {
		if time.Now().After(deadline) {
			t.Fatal("it waits on")
		}
		<-time.After(time.Millisecond)
	}
	end <- contracts.Result{Reply: "answer", Run: 1}
	if c := r.get("/api/chat/" + m.ID + "?wait=10").chat(t); c.Reply != "answer" {
		t.Errorf("%+v", c)
	}
}
