package ingress_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"moltbot/contracts"
	"moltbot/ingress"
)

func TestChat(t *testing.T) {
	r := newRig(t)
	w := r.work(answered)
	res := r.post(say("hi", `"session_id":"s_1"`, `"model":"gpt-5"`, `"timeout":30`))
	if res.status != 200 {
		t.Fatalf("%d %s", res.status, res.body)
	}
	m, c := await(t, "message", w.taken), res.chat(t)
	if c.Reply != "you said hi" || c.Status != contracts.StatusDone || c.ID != m.ID || c.SessionID != "s_1" ||
		c.Model != "demo" || c.Usage.CompletionTokens != 2 || c.FinishReason != "stop" || c.AnsweredAt == nil {
		t.Errorf("%s", res.body)
	}
	if m.Text != "hi" || m.Model != "gpt-5" || m.Caller != "api:ann" || m.SessionID != "s_1" || m.Channel != contracts.ChannelAPI ||
		!m.Accepted.Equal(r.clock.now()) || m.RequestID != res.header.Get("X-Request-Id") {
		t.Errorf("%+v", m)
	}
	id, err := contracts.ParseID(m.ID)
	if err != nil || !r.namer.Genuine(id, "ann") {
		t.Errorf("%s: %v", m.ID, err)
	}
	if ct := res.header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("content type %q", ct)
	}
	if res.header.Get("Cache-Control") != "no-store" || res.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers: %v", res.header)
	}
	if again := r.get("/api/chat/" + m.ID); again.body != res.body || again.status != 200 {
		t.Errorf("fetched: %d %s", again.status, again.body)
	}
}

func TestSessions(t *testing.T) {
	r := newRig(t)
	w := r.work(answered)
	say := func(with ...string) contracts.Message {
		if res := r.post(`{"message":"hi","session_id":"mine"}`, with...); res.status != 200 {
			t.Fatalf("%d %s", res.status, res.body)
		}
		return await(t, "message", w.taken)
	}
	a, b := say(), say()
	if a.Conversation != b.Conversation || a.ID == b.ID {
		t.Errorf("one session, two messages: %s, %s", a.ID, b.ID)
	}
	if other := say("Authorization: Bearer " + bob); other.Conversation == a.Conversation {
		t.Error("another caller is in the same conversation")
	}
	// Without a session each message has its own.
	one, two := r.post(`{"message":"hi"}`).chat(t), r.post(`{"message":"hi"}`).chat(t)
	if one.SessionID == two.SessionID || one.SessionID == "" {
		t.Errorf("sessions %q and %q", one.SessionID, two.SessionID)
	}
	if res := r.call(http.MethodDelete, "/api/sessions/mine", ""); res.status != 204 || res.body != "" {
		t.Errorf("delete: %d %s", res.status, res.body)
	}
	if len(r.store.erased) != 1 || r.store.erased[0] != "api:ann "+a.Conversation {
		t.Errorf("erased %v, want %s", r.store.erased, a.Conversation)
	}
	problem(t, r.call(http.MethodDelete, "/api/sessions/a.b", ""), contracts.CodeBadRequest)
	problem(t, r.call(http.MethodDelete, "/api/sessions/mine", "", "Authorization:"), contracts.CodeUnauthorized)
	r.store.failing(true)
	problem(t, r.call(http.MethodDelete, "/api/sessions/mine", ""), contracts.CodeStoreDown)
}

func TestNoPatience(t *testing.T) {
	r := newRig(t, func(o *ingress.Options) { o.MaxWaiting = 1 }) // one may wait
	open := make(chan struct{})
	w := r.work(held(t, open))
	res := r.post(say("hi", `"timeout":0`))
	c := res.chat(t)
	if res.status != 202 || c.Status != contracts.StatusPending || c.Reply != "" || c.SessionID == "" ||
		res.header.Get("Location") != "/api/chat/"+c.ID || res.header.Get("Retry-After") == "" {
		t.Fatalf("%d %v %s", res.status, res.header, res.body)
	}
	if m := await(t, "message", w.taken); m.ReplyTo != "" || m.ID != c.ID {
		t.Errorf("%+v", m)
	}
	if got := r.get(res.header.Get("Location")); got.status != 202 || got.chat(t).ID != c.ID {
		t.Errorf("%d %s", got.status, got.body)
	}
	// Who waits gets the answer from the worker, which it asked for it.
	waiting := r.later(http.MethodGet, res.header.Get("Location")+"?wait=60", "")
	if id := await(t, "attach", w.asked); id != c.ID {
		t.Errorf("attached to %s", id)
	}
	close(open)
	if got := await(t, "answer", waiting); got.status != 200 || got.chat(t).Reply != "you said hi" {
		t.Errorf("%d %s", got.status, got.body)
	}
	for _, wait := range []string{"-1", "x", "3601", "1.5"} {
		problem(t, r.get(res.header.Get("Location")+"?wait="+wait), contracts.CodeBadRequest)
	}
}

func TestPatienceOver(t *testing.T) {
	r := newRig(t, func(o *ingress.Options) { o.Cap = 30 * time.Millisecond })
	open := make(chan struct{})
	r.work(held(t, open))
	res := r.post(say("hi", `"timeout":3600`))
	if res.status != 202 || res.header.Get("Location") == "" {
		t.Fatalf("%d %s", res.status, res.body)
	}
	if got := r.get(res.header.Get("Location") + "?wait=60"); got.status != 202 {
		t.Errorf("%d %s", got.status, got.body)
	}
	close(open)
}

// A failure is answered with its own status, at once and when fetched.
func TestFailedResult(t *testing.T) {
	r := newRig(t)
	r.work(func(m contracts.Message) (contracts.Result, bool) {
		return contracts.Failed(m, contracts.CodeModelTimeout, "the model took too long", m.Accepted), true
	})
	res := r.post(say("hi"), "Idempotency-Key: k")
	p := problem(t, res, contracts.CodeModelTimeout)
	if p.Detail != "the model took too long" || p.ID == "" {
		t.Errorf("%s", res.body)
	}
	for name, again := range map[string]response{"fetched": r.get("/api/chat/" + p.ID), "repeated": r.post(say("hi"), "Idempotency-Key: k")} {
		if q := problem(t, again, contracts.CodeModelTimeout); q.ID != p.ID || q.Detail != p.Detail {
			t.Errorf("%s: %s", name, again.body)
		}
	}
}

// The answer may come before the stream's acknowledgement does.
func TestAnswerInsidePublish(t *testing.T) {
	r := newBareRig(t)
	said := make(chan string, 1)
	sub, err := r.test.Subscribe(contracts.SubjectsChat, func(d *nats.Msg) { // instead of the stream
		letter, err := contracts.DecodeLetter(d.Data)
		if err != nil {
			t.Error(err)
			return
		}
		m, _ := letter.Open(place{})
		result, _ := answered(m)
		said <- r.reply(m.ReplyTo, contracts.Reply{ID: m.ID, Data: sealResult(result)})
		_ = d.Respond([]byte(`{"stream":"CHAT","seq":1}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	r.run()
	if err := r.test.Flush(); err != nil {
		t.Fatal(err)
	}
	if res := r.post(say("hi")); res.status != 200 || res.chat(t).Reply != "you said hi" {
		t.Errorf("%d %s", res.status, res.body)
	}
	if got := await(t, "reply", said); got != contracts.ReplyTaken {
		t.Errorf("the worker was told %q", got)
	}
}

// A client that leaves before its message is stored changes nothing.
func TestClientGone(t *testing.T) {
	r := newRig(t)
	ctx, leave := context.WithCancel(t.Context())
	r.store.onClaim = func(ctx context.Context) {
		leave()
		<-ctx.Done() // ingress has noticed
	}
	w := r.work(answered)
	if _, err := r.do(r.request(ctx, http.MethodPost, "/api/chat", say("hi"), "Idempotency-Key: k")); err == nil {
		t.Fatal("the client did not leave")
	}
	m := await(t, "message", w.taken)
	if res := r.get("/api/chat/" + m.ID + "?wait=60"); res.status != 200 || res.chat(t).Reply != "you said hi" {
		t.Errorf("%d %s", res.status, res.body)
	}
}

// That a client left is its own affair, no failure of ours.
func TestClientGoneIsNoError(t *testing.T) {
	r := newRig(t)
	ctx, leave := context.WithCancel(t.Context())
	r.store.onClaim = func(ctx context.Context) {
		leave()
		<-ctx.Done()
		r.store.failing(true) // as a driver does: it gives up with the context
	}
	if _, err := r.do(r.request(ctx, http.MethodPost, "/api/chat", say("hi"), "Idempotency-Key: k")); err == nil {
		t.Fatal("the client did not leave")
	}
	r.store.failing(false)
	if err := r.stop(); err != nil { // the handler has returned
		t.Fatal(err)
	}
	if log := r.logs.String(); strings.Contains(log, `"level":"error"`) || !strings.Contains(log, "after its client left") {
		t.Errorf("log:\n%s", log)
	}
}

// The reply never comes; the parked result is found all the same.
func TestReplyLost(t *testing.T) {
	r := newRig(t)
	w := r.work(func(m contracts.Message) (contracts.Result, bool) {
		result, _ := answered(m)
		r.store.park(result)
		return result, false
	})
	if res := r.post(say("hi")); res.status != 200 || res.chat(t).Reply != "you said hi" {
		t.Errorf("%d %s", res.status, res.body)
	}
	await(t, "message", w.taken)
}

func TestReplies(t *testing.T) {
	for name, c := range map[string]struct {
		data   func(contracts.Result) []byte
		parked bool
	}{
		"a pointer":             {func(contracts.Result) []byte { return nil }, true},
		"what does not open":    {func(contracts.Result) []byte { return []byte("garbage") }, true},
		"another message's one": {func(r contracts.Result) []byte { r.ID = r.ID[:len(r.ID)-1] + "~"; return sealResult(r) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.work(func(m contracts.Message) (contracts.Result, bool) {
				result, _ := answered(m)
				r.store.park(result)
				if got := r.reply(m.ReplyTo, contracts.Reply{ID: m.ID, Data: c.data(result)}); got != contracts.ReplyTaken {
					t.Errorf("the worker was told %q", got)
				}
				return result, false
			})
			if res := r.post(say("hi")); res.status != 200 || res.chat(t).Reply != "you said hi" {
				t.Errorf("%d %s", res.status, res.body)
			}
		})
	}
}

func TestReplyForNobody(t *testing.T) {
	r := newRig(t)
	id := r.namer.NewID(r.namer.Conversation(contracts.Scope{Caller: "ann"}), "ann", r.clock.now(), r.namer.Digest("d"))
	r.post(say("hi", `"timeout":0`)) // by now ingress listens
	if got := r.reply(contracts.SubjectReply("n1"), contracts.Reply{ID: id.String()}); got != contracts.ReplyGone {
		t.Errorf("the worker was told %q", got)
	}
}

func TestTooManyWait(t *testing.T) {
	r := newRig(t, func(o *ingress.Options) { o.MaxWaiting = 1 })
	open := make(chan struct{})
	w := r.work(held(t, open))
	first := r.later(http.MethodPost, "/api/chat", say("one"))
	m := await(t, "message", w.taken)
	res := r.post(say("two"))
	if res.status != 202 {
		t.Errorf("%d %s", res.status, res.body)
	}
	if got := r.get("/api/chat/" + m.ID + "?wait=60"); got.status != 202 {
		t.Errorf("fetch: %d %s", got.status, got.body)
	}
	if n := r.in.Waiting(); n != 1 {
		t.Errorf("%d wait", n)
	}
	close(open)
	if got := await(t, "answer", first); got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := r.get(res.header.Get("Location") + "?wait=60"); got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// Whoever asks for a message that is not his learns nothing, not even whether it exists.
func TestUnknownMessages(t *testing.T) {
	r := newRig(t)
	r.work(answered)
	id := r.post(say("hi")).chat(t).ID
	parsed, err := contracts.ParseID(id)
	if err != nil {
		t.Fatal(err)
	}
	old := r.namer.NewID(parsed.Conversation, "ann", r.clock.now().Add(-25*time.Hour), parsed.Digest).String()
	last := "0"
	if strings.HasSuffix(id, last) {
		last = "1"
	}
	looked := false
	r.store.onResult = func(context.Context) { looked = true }
	same := func(res response) string {
		p := problem(t, res, contracts.CodeNotFound)
		return strings.ReplaceAll(res.body, p.RequestID, "")
	}
	want := same(r.get("/api/chat/x"))
	for name, res := range map[string]response{
		"another caller's": r.get("/api/chat/"+id, "Authorization: Bearer "+bob),
		"forged":           r.get("/api/chat/" + id[:len(id)-1] + last),
		"cut":              r.get("/api/chat/" + id[1:]),
		"upper case":       r.get("/api/chat/" + strings.ToUpper(id)),
	} {
		if got := same(res); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
		if looked {
			t.Errorf("%s: the store was asked", name)
		}
	}
	if got := same(r.get("/api/chat/" + old)); got != want {
		t.Errorf("old: %s, want %s", got, want)
	}
	if got := r.get("/api/chat/" + id); got.status != 200 {
		t.Errorf("and his own: %d %s", got.status, got.body)
	}
}

func TestResultExpired(t *testing.T) {
	r := newRig(t)
	r.work(answered)
	id := r.post(say("hi"), "Idempotency-Key: k").chat(t).ID
	r.store.expire(id)
	for name, res := range map[string]response{"fetched": r.get("/api/chat/" + id), "repeated": r.post(say("hi"), "Idempotency-Key: k")} {
		if p := problem(t, res, contracts.CodeResultExpired); p.ID != id {
			t.Errorf("%s: %s", name, res.body)
		}
	}
	if n := r.stored(); n != 1 {
		t.Errorf("%d messages stored", n)
	}
}

// A replayed dead letter is fetched under its own id, which must survive a URL.
func TestReplayLocation(t *testing.T) {
	r := newRig(t)
	id := r.namer.NewID(r.namer.Conversation(contracts.Scope{Caller: "ann"}), "ann", r.clock.now(), r.namer.Digest("d"))
	id.Replay = 1
	res := r.get("/api/chat/" + strings.Replace(id.String(), "#", "%23", 1))
	if res.status != 202 || res.chat(t).ID != id.String() {
		t.Fatalf("%d %s", res.status, res.body)
	}
	if again := r.get(res.header.Get("Location")); again.status != 202 || again.chat(t).ID != id.String() {
		t.Errorf("Location %q leads to %d %s", res.header.Get("Location"), again.status, again.body)
	}
}
