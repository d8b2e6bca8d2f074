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

// TestKill is the promise itself: with workers and ingress killed again and
// again, every accepted message is answered once and in order.
func TestKill(t *testing.T) {
	l := newLedger(t, 50*time.Millisecond)
	y := build(t, shape{workers: 3, model: l.model})
	o := &load{
		conversations: size(40, 200), messages: size(10, 20), prefix: "kill",
		pace: size(500*time.Millisecond, 1500*time.Millisecond),
	}
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
	l := newLedger(t, 50*time.Millisecond)
	y := build(t, shape{workers: 3, nats: 3, model: l.model})
	o := &load{
		conversations: size(20, 200), messages: size(8, 20), prefix: "cluster",
		pace: size(800*time.Millisecond, 2*time.Second),
	}
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
