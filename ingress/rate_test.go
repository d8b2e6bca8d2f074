package ingress_test

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/ingress"
)

// counted gives the option of a Redis in which several rigs count callers.
func counted(t *testing.T) (*miniredis.Miniredis, func(*ingress.Options)) {
	t.Helper()
	m := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: m.Addr(), MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { _ = rdb.Close() })
	return m, func(o *ingress.Options) { o.Rate, o.Limits = contracts.Rate{PerSecond: 0.5, Burst: 3}, rdb }
}

func told(t *testing.T, res response, status int, limit, remaining, reset, retry string) {
	t.Helper()
	h := res.header
	if res.status != status || h.Get("RateLimit-Limit") != limit || h.Get("RateLimit-Remaining") != remaining ||
		h.Get("RateLimit-Reset") != reset || h.Get("Retry-After") != retry {
		t.Errorf("status %d, limit %q, remaining %q, reset %q, retry %q\nwant   %d %q %q %q %q: %s", res.status, h.Get("RateLimit-Limit"),
			h.Get("RateLimit-Remaining"), h.Get("RateLimit-Reset"), h.Get("Retry-After"), status, limit, remaining, reset, retry, res.body)
	}
}

// Two processes count one caller together, and say in every answer of a limited
// route how things stand.
func TestRateOverTwoProcesses(t *testing.T) {
	m, shared := counted(t)
	a, b := newRig(t, shared), newRig(t, shared)
	m.SetTime(time.Now()) // it stands still from here on, as the rigs' clocks do
	a.work(answered)
	send := func(r *rig, with ...string) response { return r.post(say("hi", `"timeout":0`), with...) }
	told(t, a.post(say("hi")), 200, "3", "2", "2", "")
	told(t, send(b), 202, "3", "1", "4", "1") // Retry-After of a pending answer
	told(t, b.get("/api/chat/unknown"), 404, "3", "0", "6", "")
	res := send(a)
	problem(t, res, contracts.CodeRateLimited)
	told(t, res, 429, "3", "0", "6", "2")
	told(t, b.call("DELETE", "/api/sessions/x", ""), 429, "3", "0", "6", "2")
	told(t, send(b, "Authorization: Bearer "+bob), 202, "3", "2", "2", "1")
	for _, r := range []*rig{a, b} {
		r.clock.move(1500 * time.Millisecond)
	}
	told(t, send(a), 429, "3", "0", "5", "1") // half a second is rounded up
	m.SetTime(time.Now().Add(2 * time.Second))
	a.clock.move(500 * time.Millisecond)
	if res := send(a); res.status != 202 {
		t.Errorf("in time: %d %s", res.status, res.body)
	}
	if s := a.in.Limits(); s.Allowed != 2 || s.Refused != 2 || s.Fallback != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestRateOfAToken(t *testing.T) {
	_, shared := counted(t)
	r := newRig(t, shared, func(o *ingress.Options) {
		o.Verifier = verifier{
			"slow": {User: "ann", Scopes: []string{"chat"}, Rate: contracts.Rate{PerSecond: 0.01, Burst: 1}},
			"fast": {User: "ann", Scopes: []string{"chat"}, Rate: contracts.Rate{PerSecond: 0.01, Burst: 500}},
			"free": {User: "ann", Scopes: []string{"chat"}, Rate: contracts.Rate{Off: true}},
			"mine": {User: "ann", Scopes: []string{"chat"}},
		}
	})
	for token, want := range map[string]struct {
		allowed int
		limit   string
	}{"slow": {1, "1"}, "fast": {50, "500"}, "free": {50, ""}, "mine": {3, "3"}} {
		for i := range 50 {
			res := r.get("/api/chat/x", "Authorization: Bearer "+token)
			if got := res.status != 429; got != (i < want.allowed) || res.header.Get("RateLimit-Limit") != want.limit {
				t.Fatalf("%s, request %d: %d, limit %q", token, i, res.status, res.header.Get("RateLimit-Limit"))
			}
		}
	}
}

// A Redis that is away refuses nobody; each process counts by itself.
func TestRateWithoutRedis(t *testing.T) {
	m, shared := counted(t)
	r := newRig(t, shared)
	m.Close()
	for i := range 5 {
		if res := r.get("/api/chat/x"); (res.status == 429) != (i >= 3) {
			t.Errorf("request %d: %d", i, res.status)
		}
	}
	if s := r.in.Limits(); s.Fallback != 5 || s.Failures != 1 {
		t.Errorf("stats %+v", s)
	}
}

// No route is limited by the address it is called from. Webhooks will rely on
// this: platforms send from few addresses.
func TestAddressesAreNotLimited(t *testing.T) {
	_, shared := counted(t)
	r := newRig(t, shared)
	for range 20 {
		for _, path := range []string{"/livez", "/api/health", "/no/such/path"} {
			if res := r.get(path, "Authorization:"); res.status == 429 || res.header.Get("RateLimit-Limit") != "" {
				t.Fatalf("%s: %d %v", path, res.status, res.header)
			}
		}
	}
}
