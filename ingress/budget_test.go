package ingress_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/ingress"
)

// ledger says what callers have used.
type ledger struct {
	mu    sync.Mutex
	spent map[string]int64
	down  bool
	asked int
}

func (l *ledger) Spent(_ context.Context, caller string) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	if l.down {
		return 0, errors.New("no Redis")
	}
	return l.spent[caller], nil
}

func (l *ledger) become(caller string, spent int64, down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spent, l.down = map[string]int64{caller: spent}, down
}

func TestBudget(t *testing.T) {
	l := &ledger{spent: map[string]int64{"api:ann": 99}}
	r := newRig(t, func(o *ingress.Options) { o.DailyTokens, o.Budget = 100, l })
	r.clock.move(time.Date(2026, 11, 20, 20, 0, 0, 0, time.UTC).Sub(r.clock.now()))
	r.work(answered)
	key := "Idempotency-Key: k"
	if res := r.post(say("hi"), key); res.status != http.StatusOK {
		t.Fatalf("below the budget: %d %s", res.status, res.body)
	}
	l.become("api:ann", 100, false)
	res := r.post(say("hi"))
	p := problem(t, res, contracts.CodeBudget)
	if res.status != http.StatusTooManyRequests || res.header.Get("Retry-After") != "14400" ||
		!strings.Contains(p.Detail, "100 tokens a day") || !strings.Contains(p.Detail, "2026-11-21 00:00 UTC") {
		t.Errorf("%d, Retry-After %q: %s", res.status, res.header.Get("Retry-After"), res.body)
	}
	if res.header.Get("X-Should-Retry") != "" {
		t.Errorf("%v", res.header)
	}
	for _, more := range []string{"", streaming} { // OpenAI's clients would sleep until then
		res := r.complete(strings.Replace(ask(user("hi"), `"user":"u"`, more), ",}", "}", 1))
		refused(t, res, 429, "insufficient_quota")
		if res.header.Get("Retry-After") != "14400" || res.header.Get("X-Should-Retry") != "false" {
			t.Errorf("%v", res.header)
		}
	}
	if res := r.post(say("hi"), key); res.status != http.StatusOK {
		t.Errorf("what is answered already costs nothing: %d %s", res.status, res.body)
	}
	for range 2 { // the key is claimed by the refusal; that must not open a way around it
		problem(t, r.post(say("hi"), "Idempotency-Key: other"), contracts.CodeBudget)
	}
	if res := r.post(say("hi"), "Authorization: Bearer "+bob); res.status != http.StatusOK {
		t.Errorf("another caller: %d %s", res.status, res.body)
	}
	if res := r.call("DELETE", "/api/sessions/x", ""); res.status != http.StatusNoContent {
		t.Errorf("what costs no call: %d %s", res.status, res.body)
	}
	l.become("api:ann", 1000, true)
	if res := r.post(say("hi")); res.status != http.StatusOK {
		t.Errorf("without Redis: %d %s", res.status, res.body)
	}
	if n := r.stored(); n != 3 {
		t.Errorf("%d messages stored", n)
	}
}

// hasty is a ledger that does not answer who has left.
type hasty struct{ ledger }

func (h *hasty) Spent(ctx context.Context, caller string) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return h.ledger.Spent(ctx, caller)
}

// A client that leaves while it is looked up does not get around its budget: a
// message that is stored is answered, and can be fetched.
func TestBudgetOfWhoLeft(t *testing.T) {
	h := &hasty{ledger{spent: map[string]int64{"api:ann": 100}}}
	r := newRig(t, func(o *ingress.Options) { o.DailyTokens, o.Budget = 100, h })
	ctx, leave := context.WithCancel(t.Context())
	leave()
	r.in.Handler().ServeHTTP(httptest.NewRecorder(), r.request(ctx, http.MethodPost, "/api/chat", say("hi")))
	if n := r.stored(); n != 0 {
		t.Errorf("%d messages stored", n)
	}
}

// purse gives every token a budget of its own.
type purse struct {
	verifier
	budget int64
}

func (v purse) Verify(token string) (ingress.Identity, error) {
	who, err := v.verifier.Verify(token)
	who.Budget = v.budget
	return who, err
}

func TestBudgetOfTheToken(t *testing.T) {
	for budget, want := range map[int64]int{0: 429, 50: 429, 500: 202} {
		l := &ledger{spent: map[string]int64{"api:ann": 100}}
		r := newRig(t, func(o *ingress.Options) { o.DailyTokens, o.Budget, o.Verifier = 100, l, purse{users, budget} })
		if res := r.post(say("hi", `"timeout":0`)); res.status != want {
			t.Errorf("budget %d: %d %s", budget, res.status, res.body)
		}
	}
	l := &ledger{}
	r := newRig(t, func(o *ingress.Options) { o.Budget = l })
	if res := r.post(say("hi", `"timeout":0`)); res.status != 202 || l.asked != 0 {
		t.Errorf("without a budget: %d, asked %d times", res.status, l.asked)
	}
}

func TestCachedIsSaid(t *testing.T) {
	r := newRig(t)
	r.work(func(m contracts.Message) (contracts.Result, bool) {
		res, ok := answered(m)
		res.Cached = m.Text == "again"
		return res, ok
	})
	for text, want := range map[string]bool{"again": true, "hi": false} {
		if res := r.post(say(text)); strings.Contains(string(res.body), `"cached":true`) != want {
			t.Errorf("%s: %s", text, res.body)
		}
	}
}

func TestAdminUsageAndCache(t *testing.T) {
	r := newBareRig(t)
	r.clock.t = time.Date(2026, 11, 20, 20, 0, 0, 0, time.UTC)
	const token = "admin-token-CANARY-0123456789abcdef"
	l := listen(t)
	purged := make(chan string, 10)
	r.run(func(o *ingress.Options) {
		o.Admin = &ingress.Admin{
			Listener: l, Token: token, Workers: noWorkers, Resize: noResize,
			Status: func(context.Context) (s contracts.AdminStatus, err error) { return s, nil },
			Mint:   func(contracts.TokenRequest) (m contracts.TokenReply, err error) { return m, nil },
			Usage: func(_ context.Context, from, to string) (contracts.AdminUsage, error) {
				return contracts.AdminUsage{From: from, To: to, Rows: []contracts.UsageRow{}}, nil
			},
			Purge: func(_ context.Context, model string) error { purged <- model; return nil },
		}
	})
	r.base = "http://" + l.Addr().String()
	const good = "Authorization: Bearer " + token
	for query, want := range map[string]string{
		"":                               "2026-11-20 2026-11-20",
		"?day=2026-11-01":                "2026-11-01 2026-11-01",
		"?from=2026-11-01":               "2026-11-01 2026-11-20",
		"?from=2026-11-01&to=2026-11-02": "2026-11-01 2026-11-02",
		"?to=2026-11-02":                 "2026-11-02 2026-11-02",
	} {
		days := strings.Fields(want)
		if res := r.get("/admin/usage"+query, good); res.status != 200 || !strings.Contains(string(res.body), fmt.Sprintf(`"from":%q,"to":%q`, days[0], days[1])) {
			t.Errorf("%s: %d %s", query, res.status, res.body)
		}
	}
	problem(t, r.get("/admin/usage?day=2026-11-01&to=2026-11-02", good), contracts.CodeBadRequest)
	for query, want := range map[string]string{"": "", "?model=gpt-5": "gpt-5"} {
		if res := r.call(http.MethodDelete, "/admin/cache"+query, "", good); res.status != 200 {
			t.Errorf("%d %s", res.status, res.body)
		} else if got := <-purged; got != want {
			t.Errorf("purged %q, want %q", got, want)
		}
	}
	problem(t, r.call(http.MethodDelete, "/admin/cache?model=%20", "", good), contracts.CodeBadRequest)
	for _, with := range []string{"Authorization:", "Authorization: Bearer " + ann} {
		problem(t, r.get("/admin/usage", with), contracts.CodeUnauthorized)
		problem(t, r.call(http.MethodDelete, "/admin/cache", "", with), contracts.CodeUnauthorized)
	}
	if len(purged) != 0 {
		t.Error("purged by a stranger")
	}
}
