package ingress_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/ingress"
)

// delivered is what became of replies, by message.
type delivered struct {
	mu  sync.Mutex
	all map[string]contracts.Delivery
	err error
}

func (d *delivered) set(id string, v contracts.Delivery, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all == nil {
		d.all = map[string]contracts.Delivery{}
	}
	d.all[id], d.err = v, err
}

func (d *delivered) Delivery(_ context.Context, id contracts.ID) (contracts.Delivery, bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v, ok := d.all[id.String()]
	return v, ok, d.err
}

func withCallbacks(t *testing.T, rules ...string) func(*ingress.Options) {
	t.Helper()
	hosts, err := contracts.ParseCallbackHosts(rules)
	if err != nil {
		t.Fatal(err)
	}
	return func(o *ingress.Options) { o.Callbacks = hosts }
}

func calling(url string) string { return `"callback_url":"` + url + `"` }

func TestCallbackIsAcceptedAtOnce(t *testing.T) {
	r := newRig(t, withCallbacks(t, "ann=hooks.example.com"))
	w := r.work(func(m contracts.Message) (contracts.Result, bool) {
		return contracts.Result{ID: m.ID, SessionID: m.SessionID, Reply: "ok", Finish: "stop", At: time.Now()}, true
	})
	const url = "https://hooks.example.com/chat?key=s3cret"
	first := r.post(say("hi", calling(url), `"timeout":30`), "Idempotency-Key: k")
	p := first.chat(t)
	if first.status != http.StatusAccepted || p.Status != contracts.StatusPending || p.SessionID == "" || first.header.Get("Location") != "/api/chat/"+p.ID {
		t.Fatalf("%d %+v, location %s", first.status, p, first.header.Get("Location"))
	}
	m := await(t, "the message", w.taken)
	if m.ID != p.ID || m.Callback != url || m.ReplyTo != "" {
		t.Errorf("message %s calls %q, replies to %q", m.ID, m.Callback, m.ReplyTo)
	}
	if got := r.get("/api/chat/" + p.ID + "?wait=5").chat(t); got.Reply != "ok" || got.Delivery != nil {
		t.Errorf("fetched %+v", got)
	}
	// A repeat is the same message, answered or not; another URL is another body.
	if again := r.post(say("hi", calling(url), `"timeout":30`), "Idempotency-Key: k"); again.status != http.StatusAccepted || again.chat(t).ID != p.ID {
		t.Errorf("repeated: %d %s", again.status, again.body)
	}
	problem(t, r.post(say("hi", calling("https://hooks.example.com/other")), "Idempotency-Key: k"), contracts.CodeKeyReused)
	problem(t, r.post(say("hi"), "Idempotency-Key: k"), contracts.CodeKeyReused)
	if n := len(w.taken); n != 0 {
		t.Errorf("%d more messages", n)
	}
	if strings.Contains(r.logs.String(), "s3cret") {
		t.Error("the log tells the URL")
	}
}

func TestCallbackURLsThatAreRefused(t *testing.T) {
	r := newRig(t, withCallbacks(t, "ann=hooks.example.com", "bob=bob.example", "*=*.everybody.example", "ann=http://10.0.0.7:9000"))
	for url, code := range map[string]contracts.Code{
		"https://other.example/":                                 contracts.CodeForbidden,
		"https://bob.example/":                                   contracts.CodeForbidden,
		"http://hooks.example.com/":                              contracts.CodeForbidden,
		"https://hooks.example.com:8443/":                        contracts.CodeForbidden,
		"https://everybody.example/":                             contracts.CodeForbidden,
		"https://10.0.0.7:9000/":                                 contracts.CodeForbidden,
		"http://169.254.169.254/latest":                          contracts.CodeForbidden,
		"https://[::1]/":                                         contracts.CodeForbidden,
		"https://hooks.example.com@evil.example/":                contracts.CodeBadRequest,
		"https://hooks.example.com#@evil.example/":               contracts.CodeBadRequest,
		"https://evil.example/#hooks.example.com":                contracts.CodeBadRequest,
		`https://hooks.example.com\\@evil.example`:               contracts.CodeBadRequest,
		"https://hooks.example.com./":                            contracts.CodeBadRequest,
		"https://Hooks.example.com/":                             contracts.CodeBadRequest,
		"https://2130706433/":                                    contracts.CodeBadRequest,
		"https://0x7f.1/":                                        contracts.CodeBadRequest,
		"https://[::ffff:169.254.169.254]/":                      contracts.CodeBadRequest,
		"//hooks.example.com/":                                   contracts.CodeBadRequest,
		"hooks.example.com":                                      contracts.CodeBadRequest,
		"ftp://hooks.example.com/":                               contracts.CodeBadRequest,
		"javascript:alert(1)":                                    contracts.CodeBadRequest,
		"https://hooks.example.com/\\u0000":                      contracts.CodeBadRequest,
		"https://hooks.example.com/a b":                          contracts.CodeBadRequest,
		"https://hooks.example.com/" + strings.Repeat("a", 2048): contracts.CodeBadRequest,
	} {
		p := problem(t, r.post(say("hi", calling(url))), code)
		if !strings.Contains(p.Detail, "callback_url") || strings.Contains(p.Detail, "evil") {
			t.Errorf("%s: %s", url, p.Detail)
		}
	}
	problem(t, r.post(say("hi", calling("https://hooks.example.com/"), `"stream":true`)), contracts.CodeBadRequest)
	if n := r.stored(); n != 0 {
		t.Errorf("%d refused messages were stored", n)
	}
	for _, url := range []string{"https://a.everybody.example/x", "http://10.0.0.7:9000/x"} {
		if res := r.post(say("hi", calling(url))); res.status != http.StatusAccepted {
			t.Errorf("%s: %d %s", url, res.status, res.body)
		}
	}
}

func TestCallbacksAreOffUnlessHostsAreAllowed(t *testing.T) {
	r := newRig(t)
	if p := problem(t, r.post(say("hi", calling("https://x.example"))), contracts.CodeUnsupported); !strings.Contains(p.Detail, "callback.hosts") {
		t.Errorf("detail %s", p.Detail)
	}
}

func TestDeliveriesAreTold(t *testing.T) {
	d := &delivered{}
	r := newRig(t, withCallbacks(t, "*=hooks.example.com"), func(o *ingress.Options) { o.Deliveries = d })
	r.work(func(m contracts.Message) (contracts.Result, bool) {
		if m.Text == "fail" {
			return contracts.Failed(m, contracts.CodeModelFailed, "the model refused", time.Now()), true
		}
		return contracts.Result{ID: m.ID, SessionID: m.SessionID, Reply: "ok", At: time.Now()}, true
	})
	at := time.Now().UTC().Truncate(time.Millisecond)
	want := contracts.Delivery{Status: contracts.DeliveryPending, Attempts: []contracts.DeliveryAttempt{{At: at, Part: 1, Outcome: contracts.DeliveryPending, Detail: "503"}}}
	good := r.post(say("hi", calling("https://hooks.example.com/"))).chat(t).ID
	d.set(good, want, nil)
	for _, path := range []string{"/api/chat/" + good + "?wait=5", "/api/chat/" + good} { // waited for, and parked
		if got := r.get(path).chat(t); got.Delivery == nil || got.Delivery.Status != want.Status || len(got.Delivery.Attempts) != 1 || got.Delivery.Attempts[0] != want.Attempts[0] {
			t.Errorf("%s: %+v", path, got.Delivery)
		}
	}
	bad := r.post(say("fail", calling("https://hooks.example.com/"))).chat(t).ID
	d.set(bad, want, nil)
	if p := problem(t, r.get("/api/chat/"+bad+"?wait=5"), contracts.CodeModelFailed); p.Delivery == nil || p.Delivery.Attempts[0].Detail != "503" {
		t.Errorf("%+v", p)
	}
	// What is not known keeps nobody from the answer.
	d.set(good, want, errors.New("dial tcp 10.1.2.3:6379: refused"))
	if got := r.get("/api/chat/" + good).chat(t); got.Reply != "ok" || got.Delivery != nil {
		t.Errorf("%+v", got)
	}
}
