package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestRollingRestart restarts every role with SIGTERM under load. Nothing that
// was accepted may fail, and because nothing is killed, nothing may run twice.
func TestRollingRestart(t *testing.T) {
	aside(t)
	l := newLedger(t, 20*time.Millisecond)
	y := build(t, shape{workers: 2, model: l.model})
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var wg sync.WaitGroup
	var answered, refused atomic.Int64
	var mu sync.Mutex
	var failed []error
	c := y.client()
	const lanes = 20 // each sends 5 requests a second: 100 together
	for lane := range lanes {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				again, err := oneRequest(c, lane, n)
				refused.Add(int64(again))
				if err != nil {
					mu.Lock()
					failed = append(failed, fmt.Errorf("lane %d message %d: %w", lane, n, err))
					mu.Unlock()
					return
				}
				answered.Add(1)
				wait(ctx, 180*time.Millisecond)
			}
		})
	}
	restarts := size(3, 20)
	for range restarts {
		for _, p := range []*process{y.workers[0], y.workers[1], y.ingress} {
			p.terminate()
			p.start()
			eventually(t, 10*time.Second, "ready again", y.ready)
		}
	}
	stop()
	wg.Wait()
	t.Logf("%d requests answered over %d restarts of each of 3 processes; %d connections refused while ingress was away; %d failed; %d doubled",
		answered.Load(), restarts, refused.Load(), len(failed), l.doubles())
	if err := errors.Join(failed...); err != nil {
		y.dump()
		t.Error(err)
	}
	if n := l.doubles(); n > 0 {
		t.Errorf("%d messages ran twice in clean restarts", n)
	}
}

// oneRequest asks until it is answered. What counts as a failure is anything
// but an answer, an acceptance, or a refusal before acceptance.
func oneRequest(c *client, lane, n int) (refused int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	session, key := fmt.Sprintf("roll-%d", lane), fmt.Sprintf("roll-%d-%d", lane, n)
	for {
		r, err := c.chat(ctx, session, text(lane, n), key, 30)
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			refused++
			wait(ctx, 20*time.Millisecond)
			continue
		case err != nil:
			return refused, err
		case r.status == http.StatusAccepted:
			r.reply, err = c.answer(ctx, r.reply.ID)
			if err != nil {
				return refused, err
			}
		case r.status != http.StatusOK:
			return refused, fmt.Errorf("%d %s: %s", r.status, r.problem.Code, r.problem.Detail)
		}
		if r.reply.Reply != expected(n) {
			return refused, fmt.Errorf("answered %q, want %q", r.reply.Reply, expected(n))
		}
		return refused, nil
	}
}
