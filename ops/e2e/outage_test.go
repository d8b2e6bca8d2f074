package e2e

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/workers/model/modeltest"
)

// expect fails unless a response has the status and, for a problem, the code.
func expect(t *testing.T, r response, err error, status int, code contracts.Code) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if r.status != status || r.problem.Code != code {
		t.Fatalf("got %d %q (%s), want %d %q", r.status, r.problem.Code, r.problem.Detail, status, code)
	}
}

func timeLimit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestFullQueue fills the queue while no worker runs: refusals say so and when
// to come back, what was accepted is answered later, and then there is room.
func TestFullQueue(t *testing.T) {
	t.Parallel() // it waits more than it works
	l := newLedger(t, time.Millisecond)
	y := build(t, shape{model: l.model, settings: "queue: {max_messages: 40, max_per_conversation: 8, max_ack_pending: 64}\n"})
	c, ctx := y.client(), timeLimit(t)
	var ids []string
	for n := 0; ; n++ { // one conversation up to its limit
		r, err := c.chat(ctx, "one", text(0, n), "", 0)
		if err == nil && r.status == http.StatusAccepted {
			ids = append(ids, r.reply.ID)
			continue
		}
		expect(t, r, err, http.StatusTooManyRequests, contracts.CodeConversationFull)
		needRetryAfter(t, r)
		break
	}
	if len(ids) < 8 {
		t.Fatalf("the conversation was full after %d messages, want at least 8", len(ids))
	}
	for n := 0; ; n++ { // others up to the limit of the queue
		r, err := c.chat(ctx, fmt.Sprintf("other-%d", n), text(1+n, 0), "", 0)
		if err == nil && r.status == http.StatusAccepted {
			ids = append(ids, r.reply.ID)
			continue
		}
		expect(t, r, err, http.StatusServiceUnavailable, contracts.CodeQueueFull)
		needRetryAfter(t, r)
		break
	}
	if len(ids) < 40 {
		t.Fatalf("the queue was full after %d messages, want at least 40", len(ids))
	}
	w := newProcess(t, y.dir, "late-worker", y.bin, "--config", y.config, "serve", "workers")
	w.start()
	for _, id := range ids {
		if _, err := c.answer(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	var id string
	eventually(t, 10*time.Second, "room again", func() bool {
		r, err := c.chat(ctx, "one", text(0, 99), "", 0)
		id = r.reply.ID
		return err == nil && r.status == http.StatusAccepted
	})
	if _, err := c.answer(ctx, id); err != nil {
		t.Fatal(err)
	}
}

func needRetryAfter(t *testing.T, r response) {
	t.Helper()
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// TestBrokerStopped stops NATS: requests are refused at once, nothing is
// promised, readiness names it, and all is well again without a restart.
func TestBrokerStopped(t *testing.T) {
	t.Parallel() // it waits more than it works
	l := newLedger(t, time.Millisecond)
	y := build(t, shape{workers: 1, model: l.model})
	c, ctx := y.client(), timeLimit(t)
	r, err := c.chat(ctx, "s", text(0, 0), "k0", 30)
	expect(t, r, err, http.StatusOK, "")
	y.nats[0].kill()
	eventually(t, 10*time.Second, "a refusal", func() bool {
		r, err = c.chat(ctx, "s", text(0, 1), "k1", 0)
		return err == nil && r.status == http.StatusServiceUnavailable
	})
	began := time.Now()
	r, err = c.chat(ctx, "s", text(0, 1), "k1", 0)
	expect(t, r, err, http.StatusServiceUnavailable, contracts.CodeQueueDown)
	needRetryAfter(t, r)
	if took := time.Since(began); took > time.Second {
		t.Errorf("the refusal took %s, want it at once", took)
	}
	eventually(t, 10*time.Second, "not ready", func() bool { return !y.ready() })
	y.nats[0].start()
	id, err := c.accept(ctx, "s", text(0, 1), "k1")
	if err != nil {
		t.Fatal(err)
	}
	reply, err := c.answer(ctx, id)
	if err != nil || reply.Reply != expected(1) {
		t.Fatalf("after the outage: %q, %v", reply.Reply, err)
	}
}

// TestRedisAway stops Redis, freezes it, and starts it again. Unkeyed requests
// are accepted throughout and answered in the end; keyed ones, whose record
// Redis keeps, are refused.
func TestRedisAway(t *testing.T) {
	t.Parallel() // it waits more than it works
	l := newLedger(t, time.Millisecond)
	y := build(t, shape{workers: 2, model: l.model})
	if y.redis == nil {
		t.Skip("needs redis-server on PATH: the stand-in cannot be stopped from outside")
	}
	c, ctx := y.client(), timeLimit(t)
	r, err := c.chat(ctx, "s", text(0, 0), "", 30)
	expect(t, r, err, http.StatusOK, "")
	for i, away := range []func() (back func()){
		func() func() { y.redis.kill(); return y.redis.start },
		func() func() { y.redis.signal(syscall.SIGSTOP); return func() { y.redis.signal(syscall.SIGCONT) } },
	} {
		back := away()
		r, err = c.chat(ctx, "s", text(0, i+1), "", 1)
		expect(t, r, err, http.StatusAccepted, "")
		id := r.reply.ID
		r, err = c.chat(ctx, "s", "keyed", "key", 0)
		expect(t, r, err, http.StatusServiceUnavailable, contracts.CodeStoreDown)
		eventually(t, 15*time.Second, "not ready", func() bool { return !y.ready() })
		back()
		reply, err := c.answer(ctx, id)
		if err != nil || reply.Reply != expected(i+1) {
			y.dump()
			t.Fatalf("after the outage: %q, %v", reply.Reply, err)
		}
	}
}

// TestModelTrouble gives the model every bad day: what is accepted waits and is
// answered when the model is well again, without a restart.
func TestModelTrouble(t *testing.T) {
	aside(t)
	for name, bad := range map[string]modeltest.Behavior{
		"hanging":      {Kind: modeltest.Silent},
		"slow":         {Latency: 4 * time.Second},
		"error 500":    {Kind: modeltest.Status, Status: 500},
		"rate limited": {Kind: modeltest.Status, Status: 429, Header: map[string]string{"Retry-After": "1"}},
		"garbage":      {Kind: modeltest.Raw, Body: "<html>nope</html>"},
		"cut":          {Kind: modeltest.Cut},
		"reset":        {Kind: modeltest.Reset},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLedger(t, 0)
			var ill atomic.Bool
			l.model.Behave(func(modeltest.Request) modeltest.Behavior {
				if ill.Load() {
					return bad
				}
				return modeltest.Behavior{}
			})
			y := build(t, shape{workers: 1, model: l.model})
			c, ctx := y.client(), timeLimit(t)
			r, err := c.chat(ctx, "s", text(0, 0), "", 30)
			expect(t, r, err, http.StatusOK, "")
			ill.Store(true)
			r, err = c.chat(ctx, "s", text(0, 1), "", 1)
			expect(t, r, err, http.StatusAccepted, "")
			behind, err := c.chat(ctx, "s", text(0, 2), "", 0)
			expect(t, behind, err, http.StatusAccepted, "")
			ill.Store(false)
			for n, id := range []string{r.reply.ID, behind.reply.ID} {
				reply, err := c.answer(ctx, id)
				if err != nil || reply.Reply != expected(n+1) {
					y.dump()
					t.Fatalf("message %d: %q, %v", n+1, reply.Reply, err)
				}
			}
		})
	}
}

// TestModelRefuses gives verdicts: the message ends with the documented answer,
// a repeat under its key gives the same one, and the conversation goes on.
func TestModelRefuses(t *testing.T) {
	t.Parallel() // it waits more than it works
	l := newLedger(t, 0)
	bad := map[string]modeltest.Behavior{
		"refused": {Kind: modeltest.Status, Status: 400},
		"garbage": {Kind: modeltest.Raw, Body: "{}"},
	}
	l.model.Behave(func(r modeltest.Request) modeltest.Behavior { return bad[r.LastUser()] })
	y := build(t, shape{workers: 1, model: l.model})
	c, ctx := y.client(), timeLimit(t)
	for text, code := range map[string]contracts.Code{"refused": contracts.CodeModelFailed, "garbage": contracts.CodeModelAnswer} {
		for range 2 {
			r, err := c.chat(ctx, "s", text, "key-"+text, 50)
			expect(t, r, err, http.StatusBadGateway, code)
		}
	}
	r, err := c.chat(ctx, "s", text(0, 0), "", 30)
	expect(t, r, err, http.StatusOK, "")
	js, done := y.stream()
	defer done()
	dead, err := js.Stream(ctx, contracts.StreamDead)
	if err != nil {
		t.Fatal(err)
	}
	if n := dead.CachedInfo().State.Msgs; n != 1 {
		t.Errorf("%d dead letters, want 1: five bad answers give one, a refusal none", n)
	}
}

// TestRedisAwayDuringRun stops Redis while the model is working. The answer is
// kept and committed when Redis is back: the model is not asked again.
func TestRedisAwayDuringRun(t *testing.T) {
	t.Parallel() // it waits more than it works
	l := newLedger(t, 0)
	y := build(t, shape{workers: 2, model: l.model})
	if y.redis == nil {
		t.Skip("needs redis-server on PATH: the stand-in cannot be stopped from outside")
	}
	gate := modeltest.NewGate()
	l.model.Behave(func(modeltest.Request) modeltest.Behavior { return modeltest.Behavior{Gate: gate} })
	c, ctx := y.client(), timeLimit(t)
	r, err := c.chat(ctx, "s", text(0, 0), "", 0)
	expect(t, r, err, http.StatusAccepted, "")
	<-gate.Entered()
	y.redis.kill()
	gate.Release()
	eventually(t, 15*time.Second, "not ready", func() bool { return !y.ready() })
	y.redis.start()
	reply, err := c.answer(ctx, r.reply.ID)
	if err != nil || reply.Reply != expected(0) {
		y.dump()
		t.Fatalf("after the outage: %q, %v", reply.Reply, err)
	}
	if n := l.doubles(); n > 0 {
		t.Errorf("the model was asked %d times too often", n)
	}
}
