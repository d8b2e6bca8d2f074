package e2e

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// size gives the small or the release size.
func size[T any](small, release T) T {
	if *full {
		return release
	}
	return small
}

// aside lets a test run beside others, unless its figures are what a release is
// judged by.
func aside(t *testing.T) {
	t.Helper()
	if !*full {
		t.Parallel()
	}
}

// Messages come faster than they are answered, so that every conversation has a
// queue, and every kill meets many runs. With a kill of each worker every few
// seconds a message may well be cut five times, which would make it a dead
// letter, as it should; here it is to be answered.
const (
	modelTime    = 500 * time.Millisecond
	behind       = 300 * time.Millisecond
	killSettings = "queue: {max_attempts: 50, ack_wait: 3s, beat: 1s, lease: 1500ms, busy_delay: 200ms, retry_base: 100ms, retry_max: 1s}\n"
)

// TestKill is the promise itself: with workers and ingress killed again and
// again, every accepted message is answered once and in order.
func TestKill(t *testing.T) {
	aside(t)
	l := newLedger(t, modelTime)
	y := build(t, shape{workers: 3, model: l.model, settings: killSettings})
	o := &load{conversations: size(40, 200), messages: size(10, 20), prefix: "kill", pace: behind}
	stop := assault(t, func(ctx context.Context) { y.killRoles(ctx, size(2, 10)) })
	judge(t, y, l, o)
	stop()
}

// killRoles kills each worker so many times and ingress half as often. A worker
// is at work again before it is killed again: killing one that only starts would
// prove nothing.
func (y *system) killRoles(ctx context.Context, kills int) {
	for round := range kills {
		for _, w := range y.workers {
			for ctx.Err() == nil && w.lines("workers ready") <= round {
				wait(ctx, 50*time.Millisecond)
			}
			wait(ctx, 200*time.Millisecond+rand.N(500*time.Millisecond))
			w.crash()
		}
		if round < kills/2 {
			y.ingress.crash()
		}
	}
}

// TestKillCluster does the same on a three-node NATS of which a node is killed
// every few seconds.
func TestKillCluster(t *testing.T) {
	aside(t)
	l := newLedger(t, modelTime)
	y := build(t, shape{workers: 3, nats: 3, model: l.model, settings: killSettings})
	o := &load{conversations: size(20, 200), messages: size(8, 20), prefix: "cluster", pace: behind}
	nodes := 0
	stop := assault(t, func(ctx context.Context) {
		var wg sync.WaitGroup
		wg.Go(func() { y.killRoles(ctx, size(1, 10)) })
		for nodes < size(2, 10) {
			wait(ctx, size(2*time.Second, 4*time.Second))
			y.nats[nodes%3].crash()
			nodes++
		}
		wg.Wait()
	})
	judge(t, y, l, o)
	stop()
	t.Logf("%d kills of NATS nodes", nodes)
}

// assault runs f beside the test. stop waits for its end: a run that outlives
// the load has not hit it.
func assault(t *testing.T, f func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { f(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return wg.Wait
}

// judge runs the load to its end and reports.
func judge(t *testing.T, y *system, l *ledger, o *load) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	began := time.Now()
	if err := o.run(ctx, y.client()); err != nil {
		y.dump()
		t.Fatal(err)
	}
	t.Logf("took %s", time.Since(began).Round(time.Millisecond))
	l.report(t, o)
}
