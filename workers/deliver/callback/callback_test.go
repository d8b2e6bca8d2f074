package callback_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"

	"moltbot/contracts"
	"moltbot/workers/deliver"
	"moltbot/workers/deliver/callback"
	"moltbot/workers/deliver/egress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	secret = []byte("0123456789abcdef0123456789abcdef")
	next   = []byte("fedcba9876543210fedcba9876543210")
	home   = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
)

// receiver is a callback URL that keeps what it got.
type receiver struct {
	*httptest.Server
	mu  sync.Mutex
	got []got
}

type got struct {
	header http.Header
	body   []byte
}

func receive(t *testing.T, answer http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		r.mu.Lock()
		r.got = append(r.got, got{q.Header.Clone(), body})
		r.mu.Unlock()
		answer(w, q)
	}))
	r.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) all() []got {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]got(nil), r.got...)
}

var now = time.Now().Truncate(time.Second)

func sender(t *testing.T, change func(*callback.Options), hosts ...string) *callback.Sender {
	t.Helper()
	allowed, err := contracts.ParseCallbackHosts(hosts)
	if err != nil {
		t.Fatal(err)
	}
	o := callback.Options{
		Client: egress.New(egress.Options{Allow: home, Response: 200 * time.Millisecond}), Hosts: allowed,
		Secrets: func(user string) [][]byte {
			if user != "alice" {
				return nil
			}
			return [][]byte{secret, next}
		},
		Now:    func() time.Time { return now },
		Spread: func(d time.Duration) time.Duration { return d },
	}
	if change != nil {
		change(&o)
	}
	s, err := callback.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Client.CloseIdleConnections)
	return s
}

const messageID = "00000000000000000000000000.mi0000000.0000000000000000.0000000000000000"

func answer(url string) *contracts.Answer {
	return &contracts.Answer{
		ID: messageID, Caller: "api:alice", RequestID: "req1", Callback: url,
		Result: contracts.Result{ID: messageID, SessionID: "s1", Reply: "你好 <&> \u2028", Model: "m", Finish: "stop", At: now, Usage: contracts.Usage{PromptTokens: 3, CompletionTokens: 4}},
	}
}

func send(t *testing.T, s *callback.Sender, a *contracts.Answer) *deliver.Failure {
	t.Helper()
	parts := s.Parts(a)
	if len(parts) != 1 || !s.Repeatable(a, 100*time.Hour) {
		t.Fatalf("%d parts", len(parts))
	}
	_, err := s.Send(t.Context(), a, parts[0])
	if err == nil {
		return nil
	}
	var f *deliver.Failure
	if !errors.As(err, &f) || f.Err == nil {
		t.Fatalf("%T %v is no failure", err, err)
	}
	return f
}

func host(r *receiver) string { return "alice=" + r.URL }

func TestEventIsSignedAndWhole(t *testing.T) {
	r := receive(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })
	r.Start()
	s := sender(t, nil, host(r))
	a := answer(r.URL + "/hook?key=s3cret")
	for range 2 { // a repeat has the same id and body
		if f := send(t, s, a); f != nil {
			t.Fatal(f)
		}
	}
	all := r.all()
	if len(all) != 2 || string(all[0].body) != string(all[1].body) {
		t.Fatalf("%d calls", len(all))
	}
	h, body := all[0].header, all[0].body
	id := h.Get("webhook-id")
	if id != strings.ReplaceAll(messageID, ".", "_") || strings.Contains(id, ".") || h.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", h)
	}
	for _, key := range [][]byte{secret, next} {
		w, err := standardwebhooks.NewWebhook("whsec_" + base64.StdEncoding.EncodeToString(key))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Verify(body, h); err != nil {
			t.Errorf("verify: %v", err)
		}
		if err := w.Verify(append(body, ' '), h); err == nil {
			t.Error("another body verifies")
		}
	}
	mac := hmac.New(sha256.New, secret) // once more, by the text of the specification
	mac.Write([]byte(id + "." + h.Get("webhook-timestamp") + "." + string(body)))
	if first, _, _ := strings.Cut(h.Get("webhook-signature"), " "); first != "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)) {
		t.Errorf("signature %s", h.Get("webhook-signature"))
	}
	var event struct {
		Type      string
		Timestamp time.Time
		Data      contracts.ChatReply
	}
	if err := json.Unmarshal(body, &event); err != nil {
		t.Fatal(err)
	}
	if want := contracts.NewChatReply(&a.Result); event.Type != contracts.EventCompleted || !event.Timestamp.Equal(now) || event.Data.Reply != want.Reply || event.Data.ID != messageID || event.Data.SessionID != "s1" {
		t.Errorf("event %+v", event)
	}
}

func TestFailedMessageIsTold(t *testing.T) {
	r := receive(t, func(http.ResponseWriter, *http.Request) {})
	r.Start()
	a := answer(r.URL)
	a.Result = contracts.Result{ID: messageID, SessionID: "s1", Code: contracts.CodeModelFailed, Detail: "the model refused", At: now}
	if f := send(t, sender(t, nil, host(r)), a); f != nil {
		t.Fatal(f)
	}
	var event map[string]any
	if err := json.Unmarshal(r.all()[0].body, &event); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"type": "about:blank", "title": "Bad Gateway", "status": 502.0, "detail": "the model refused", "code": "model_failed", "request_id": "req1", "id": messageID,
	}
	if event["type"] != "chat.failed" || !reflect.DeepEqual(event["data"], want) {
		t.Errorf("event %v", event)
	}
}

func TestOnly2xxIsSuccess(t *testing.T) {
	r := receive(t, func(w http.ResponseWriter, q *http.Request) {
		var status int
		_ = json.Unmarshal([]byte(q.URL.Query().Get("status")), &status)
		if after := q.URL.Query().Get("after"); after != "" {
			w.Header().Set("Retry-After", after)
		}
		w.Header().Set("Location", "http://169.254.169.254/latest/meta-data")
		w.WriteHeader(status)
		if status != http.StatusNoContent && status != http.StatusNotModified {
			_, _ = io.WriteString(w, "{\x00 garbage 200 OK")
		}
	})
	r.Start()
	s := sender(t, nil, host(r))
	for query, want := range map[string]struct {
		verdict deliver.Verdict // empty: success
		wait    time.Duration
	}{
		"status=200": {}, "status=201": {}, "status=204": {}, "status=299": {},
		"status=301": {deliver.VerdictRetry, 5 * time.Second}, "status=302": {deliver.VerdictRetry, 5 * time.Second}, "status=304": {deliver.VerdictRetry, 5 * time.Second},
		"status=307": {deliver.VerdictRetry, 5 * time.Second}, "status=400": {deliver.VerdictRetry, 5 * time.Second}, "status=404": {deliver.VerdictRetry, 5 * time.Second},
		"status=410": {deliver.VerdictFinal, 0}, "status=500": {deliver.VerdictRetry, 5 * time.Second},
		"status=429&after=90":      {deliver.VerdictRetry, 90 * time.Second},
		"status=503&after=1":       {deliver.VerdictRetry, 5 * time.Second},
		"status=503&after=7200":    {deliver.VerdictRetry, time.Hour},
		"status=503&after=soon":    {deliver.VerdictRetry, 5 * time.Second},
		"status=503&after=-7":      {deliver.VerdictRetry, 5 * time.Second},
		"status=503&after=9999999": {deliver.VerdictRetry, time.Hour},
		"status=503&after=" + strings.ReplaceAll(now.Add(10*time.Minute).UTC().Format(http.TimeFormat), " ", "%20"): {deliver.VerdictRetry, 10 * time.Minute},
	} {
		f := send(t, s, answer(r.URL+"/?"+query))
		switch {
		case (f == nil) != (want.verdict == ""):
			t.Errorf("%s: %v", query, f)
		case f != nil && (f.Verdict != want.verdict || f.Wait != want.wait || f.Detail != query[7:10]):
			t.Errorf("%s: %s, wait %s, detail %s", query, f.Verdict, f.Wait, f.Detail)
		}
	}
}

func TestBrokenCalls(t *testing.T) {
	over := make(chan struct{})
	r := receive(t, func(w http.ResponseWriter, q *http.Request) {
		switch q.URL.Path {
		case "/hang":
			<-over
		case "/reset":
			conn, _, _ := w.(http.Hijacker).Hijack()
			_ = conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		case "/junk":
			conn, _, _ := w.(http.Hijacker).Hijack()
			_, _ = io.WriteString(conn, "SSH-2.0-OpenSSH\r\n\r\n")
			conn.Close()
		case "/endless":
			_, _ = io.WriteString(w, strings.Repeat("x", 1<<20))
			w.(http.Flusher).Flush()
			<-over
		}
	})
	r.Start()
	defer close(over)
	gone := receive(t, nil)
	gone.Start()
	gone.Close()
	s := sender(t, nil, host(r), host(gone))
	for url, want := range map[string]string{
		r.URL + "/hang": "timeout", r.URL + "/reset": "broken", r.URL + "/junk": "broken", gone.URL + "/x": "unreachable", r.URL + "/endless": "",
	} {
		f := send(t, s, answer(url+"?k=s3cret"))
		if f == nil && want == "" {
			continue
		}
		if f == nil || f.Verdict != deliver.VerdictRetry || f.Detail != want || f.Wait != 5*time.Second {
			t.Errorf("%s: %v", url, f)
			continue
		}
		if strings.Contains(f.Error(), "s3cret") {
			t.Errorf("the error tells the URL: %v", f)
		}
	}
}

// What an operator does not allow is never called, and never silently dropped.
func TestRefusedReceivers(t *testing.T) {
	r := receive(t, func(http.ResponseWriter, *http.Request) {})
	r.Start()
	strict := func(o *callback.Options) { o.Client = egress.New(egress.Options{}) }
	for name, c := range map[string]struct {
		s      *callback.Sender
		url    string
		detail string
	}{
		"host not listed":      {sender(t, nil, "alice=https://hooks.example.com"), r.URL, "refused_url"},
		"listed for another":   {sender(t, nil, "bob="+r.URL), r.URL, "refused_url"},
		"trick":                {sender(t, nil, host(r)), r.URL + "@evil.example/", "refused_url"},
		"network not allowed":  {sender(t, strict, host(r)), r.URL, "refused_address"},
		"metadata of a cloud":  {sender(t, strict, "alice=http://169.254.169.254"), "http://169.254.169.254/latest", "refused_address"},
		"loopback by its name": {sender(t, strict, "alice=http://localhost:1"), "http://localhost:1/", "refused_address"},
	} {
		f := send(t, c.s, answer(c.url+"?k=s3cret"))
		if f == nil || f.Verdict != deliver.VerdictFinal || f.Detail != c.detail {
			t.Errorf("%s: %v", name, f)
		} else if strings.Contains(f.Error(), "s3cret") {
			t.Errorf("%s: the error tells the URL: %v", name, f)
		}
	}
	if n := len(r.all()); n != 0 {
		t.Errorf("%d calls arrived", n)
	}
}

func TestCertificatesAndSecretsMustBeGood(t *testing.T) {
	r := receive(t, func(http.ResponseWriter, *http.Request) {})
	r.StartTLS()
	if f := send(t, sender(t, nil, host(r)), answer(r.URL)); f == nil || f.Verdict != deliver.VerdictRetry || f.Detail != "certificate" {
		t.Errorf("certificate of nobody: %v", f)
	}
	for name, secrets := range map[string][][]byte{"none": nil, "empty": {{}}, "short": {secret, []byte("short")}} {
		s := sender(t, func(o *callback.Options) { o.Secrets = func(string) [][]byte { return secrets } }, host(r))
		if f := send(t, s, answer(r.URL)); f == nil || f.Verdict != deliver.VerdictFinal {
			t.Errorf("secret %s: %v", name, f)
		}
	}
	if n := len(r.all()); n != 0 {
		t.Errorf("%d calls arrived", n)
	}
}

func TestWaitsGrowForADay(t *testing.T) {
	r := receive(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	r.Start()
	at := now
	s := sender(t, func(o *callback.Options) { o.Now = func() time.Time { return at } }, host(r))
	a := answer(r.URL)
	p := s.Parts(a)[0]
	p.Since = now
	var waits []time.Duration
	for {
		_, err := s.Send(t.Context(), a, p)
		var f *deliver.Failure
		if !errors.As(err, &f) {
			t.Fatal(err)
		}
		if f.Verdict == deliver.VerdictFinal {
			break
		}
		waits = append(waits, f.Wait)
		at = at.Add(f.Wait)
	}
	want := []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, time.Hour}
	if len(waits) != 29 || !reflect.DeepEqual(waits[:7], want) || at.Sub(now) != 24*time.Hour {
		t.Errorf("%d waits, %v, the last try after %s", len(waits), waits, at.Sub(now))
	}
	// A dead letter that is replayed a week later has a day again.
	p.Since = at.Add(7 * 24 * time.Hour)
	at = p.Since
	var f *deliver.Failure
	if _, err := s.Send(t.Context(), a, p); !errors.As(err, &f) || f.Verdict != deliver.VerdictRetry || f.Wait != 5*time.Second {
		t.Errorf("replayed: %v", f)
	}
}

func TestOwnStopIsNotTheReceivers(t *testing.T) {
	arrived, over := make(chan struct{}), make(chan struct{})
	r := receive(t, func(http.ResponseWriter, *http.Request) { close(arrived); <-over })
	r.Start()
	defer close(over)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	s := sender(t, func(o *callback.Options) { o.Client = egress.New(egress.Options{Allow: home}) }, host(r))
	a := answer(r.URL)
	var f *deliver.Failure
	if _, err := s.Send(ctx, a, s.Parts(a)[0]); !errors.As(err, &f) || f.Verdict != deliver.VerdictUncertain || f.Detail != "stopped" {
		t.Errorf("%v", err)
	}
}
