package ingress_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
	"moltbot/ingress"
)

func TestHealth(t *testing.T) {
	r := newRig(t)
	r.clock.move(90*time.Second + 999*time.Millisecond)
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		if res := r.call(method, "/api/health", "", "Authorization:"); res.status != 200 || strings.TrimSpace(res.body) != `{"status":"healthy","uptime":90}` {
			t.Errorf("%s: %d %s", method, res.status, res.body)
		}
	}
	if res := r.get("/livez", "Authorization:"); res.status != 200 {
		t.Errorf("livez: %d %s", res.status, res.body)
	}
}

func ready(t *testing.T, res response) contracts.Ready {
	t.Helper()
	var v contracts.Ready
	if err := json.Unmarshal([]byte(res.body), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestReady(t *testing.T) {
	var broken, asked atomic.Int64
	r := newRig(t, func(o *ingress.Options) {
		o.Checks = map[string]func(context.Context) error{
			"nats": func(context.Context) error { asked.Add(1); return nil },
			"redis": func(context.Context) error {
				if broken.Load() == 0 {
					return nil
				}
				return &contracts.Error{Code: contracts.CodeStoreDown, Message: "not reachable", Err: errors.New("dial 10.1.2.3")}
			},
			"model": func(context.Context) error {
				if broken.Load() < 2 {
					return nil
				}
				return errors.New("dial 10.1.2.3")
			},
		}
	})
	if res := r.get("/readyz", "Authorization:"); res.status != 200 || ready(t, res).Status != "ready" || len(ready(t, res).Checks) != 3 {
		t.Errorf("%d %s", res.status, res.body)
	}
	broken.Store(2)
	if res := r.get("/readyz"); res.status != 200 || asked.Load() != 1 {
		t.Errorf("asked %d times within a second: %d", asked.Load(), res.status)
	}
	r.clock.move(time.Second)
	res := r.get("/readyz")
	v := ready(t, res)
	if res.status != 503 || v.Status != "not_ready" || v.Checks["nats"] != "ok" || v.Checks["redis"] != "not reachable" || v.Checks["model"] == "ok" {
		t.Errorf("%d %s", res.status, res.body)
	}
	if strings.Contains(res.body, "10.1.2.3") {
		t.Errorf("internals: %s", res.body)
	}
	broken.Store(0)
	r.clock.move(time.Second)
	if res := r.get("/readyz"); res.status != 200 {
		t.Errorf("afterwards: %d %s", res.status, res.body)
	}
	if res := r.get("/livez"); res.status != 200 {
		t.Errorf("livez: %d", res.status)
	}
}

// A check that hangs and does not heed its context is named, and hangs nobody.
func TestReadyNamesWhatHangs(t *testing.T) {
	free := make(chan struct{})
	defer close(free)
	r := newRig(t, func(o *ingress.Options) {
		o.Checks = map[string]func(context.Context) error{
			"nats": func(context.Context) error { return nil }, "redis": func(context.Context) error { <-free; return nil },
		}
	})
	res := r.get("/readyz")
	if v := ready(t, res); res.status != 503 || v.Checks["redis"] != "no answer" || v.Checks["nats"] != "ok" {
		t.Errorf("%d %s", res.status, res.body)
	}
}

// watched tells when a listener is closed.
type watched struct {
	net.Listener
	onClose func()
}

func (l watched) Close() error { l.onClose(); return l.Listener.Close() }

func TestDrain(t *testing.T) {
	r := newBareRig(t)
	closing := make(chan string, 10)
	r.makeStream(jetstream.StreamConfig{})
	r.run(func(o *ingress.Options) {
		o.DrainWait = 50 * time.Millisecond
		o.Listener = watched{o.Listener, func() {
			closing <- r.in.Ready(context.Background()).Status
		}}
	})
	open := make(chan struct{})
	w := r.work(held(t, open))
	waiting := r.later(http.MethodPost, "/api/chat", say("hi"))
	await(t, "message", w.taken)
	if got := r.in.Ready(t.Context()); got.Status != "ready" {
		t.Errorf("%+v", got)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	if got := await(t, "the listener to close", closing); got != "not_ready" {
		t.Errorf("%s when the listener closed", got)
	}
	if res := await(t, "answer", waiting); res.status != 202 || res.header.Get("Location") == "" {
		t.Errorf("%d %s", res.status, res.body)
	}
	if err := await(t, "end", stopped); err != nil {
		t.Error(err)
	}
	rec := httptest.NewRecorder()
	r.in.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	if rec.Code != 503 || !strings.Contains(rec.Body.String(), "shutting down") {
		t.Errorf("readyz: %d %s", rec.Code, rec.Body)
	}
	if _, err := net.Dial("tcp", strings.TrimPrefix(r.base, "http://")); err == nil {
		t.Error("somebody still listens")
	}
	close(open)
}

// Who is answered before DrainWait is over gets the answer.
func TestDrainAnswersWhoWaits(t *testing.T) {
	r := newBareRig(t)
	closing := make(chan struct{}, 10)
	r.makeStream(jetstream.StreamConfig{})
	r.run(func(o *ingress.Options) {
		o.DrainWait = patient
		o.Listener = watched{o.Listener, func() { closing <- struct{}{} }}
	})
	open := make(chan struct{})
	w := r.work(held(t, open))
	waiting := r.later(http.MethodPost, "/api/chat", say("hi"))
	await(t, "message", w.taken)
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	await(t, "the listener to close", closing)
	close(open)
	if res := await(t, "answer", waiting); res.status != 200 || res.chat(t).Reply != "you said hi" {
		t.Errorf("%d %s", res.status, res.body)
	}
	if err := await(t, "end", stopped); err != nil {
		t.Error(err)
	}
}

// When the port is lost the role ends, and says why.
func TestListenerLost(t *testing.T) {
	r := newBareRig(t)
	l := listen(t)
	in, err := ingress.New(ingress.Options{
		Node: "n1", Listener: l, Conn: r.conn, Store: r.store, Sessions: r.store, Opener: r.store, Sealer: place{}, Namer: r.namer, Verifier: users,
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- in.Run(context.Background()) }()
	_ = l.Close()
	if err := await(t, "end", ended); err == nil || !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
}

func TestOptions(t *testing.T) {
	_, err := ingress.New(ingress.Options{Rate: contracts.Rate{PerSecond: 1}, Admin: &ingress.Admin{Token: strings.Repeat("t", 31)}})
	if err == nil {
		t.Fatal("empty options were taken")
	}
	for _, want := range []string{"Node", "Listener", "Conn", "Store", "Opener", "Sealer", "Namer", "Verifier", "burst", "admin token", "Mint"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named in %v", want, err)
		}
	}
}
