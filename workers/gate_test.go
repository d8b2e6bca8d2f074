package workers

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"moltbot/workers/workerstest"
)

func TestGate(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		limit, used, most, want int
	}{
		"all that is asked for":   {limit: 8, most: 3, want: 3},
		"all that is free":        {limit: 8, used: 6, most: 5, want: 2},
		"none is free":            {limit: 8, used: 8, most: 1, want: 0},
		"more in use than limits": {limit: 2, used: 8, most: 1, want: 0},
		"paused":                  {limit: 0, most: 1, want: 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(c.used + 1)
			if c.used > 0 {
				g.acquire(t.Context(), c.used)
			}
			g.setLimit(c.limit)
			// The context has ended, so that waiting shows as 0.
			if got := g.acquire(ended, c.most); got != c.want {
				t.Errorf("got %d slots", got)
			}
		})
	}
}

func TestGateWakesWhoWaits(t *testing.T) {
	for name, free := range map[string]func(g *gate){
		"a slot is given back":  func(g *gate) { g.release(1) },
		"the limit is raised":   func(g *gate) { g.setLimit(2) },
		"the pause has an end":  func(g *gate) { g.setLimit(0); g.release(1); g.setLimit(1) },
		"shrunk and given back": func(g *gate) { g.setLimit(4); g.setLimit(1); g.release(1) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(1)
			g.acquire(t.Context(), 1)
			got := make(chan int, 1)
			go func() { got <- g.acquire(t.Context(), 1) }()
			free(g)
			if n := workerstest.Await(t, "a slot", got); n != 1 {
				t.Errorf("got %d slots", n)
			}
		})
	}
}

// 4, then 32, then 2 slots while many ask: never more in use than the highest
// limit that counted when they were given, and after the shrink 2 at most.
func TestGateUnderLoad(t *testing.T) {
	g := newGate(4)
	ctx, stop := context.WithCancel(t.Context())
	var inUse, rounds atomic.Int64
	var limit atomic.Int64
	limit.Store(4)
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for ctx.Err() == nil {
				n := g.acquire(ctx, 3)
				if now := inUse.Add(int64(n)); now > limit.Load() {
					t.Errorf("%d slots in use, %d allowed", now, limit.Load())
				}
				inUse.Add(int64(-n))
				g.release(n)
				rounds.Add(1)
			}
		})
	}
	work := func() {
		at := rounds.Load()
		workerstest.Eventually(t, "work goes on", func() bool { return rounds.Load() > at+500 })
	}
	work()
	limit.Store(32)
	g.setLimit(32)
	work()
	g.setLimit(2) // the shrink waits: what was given before counts until it comes back
	workerstest.Eventually(t, "shrunk", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.used <= 2
	})
	limit.Store(32)
	work()
	g.setLimit(0)
	workerstest.Eventually(t, "paused", func() bool { return inUse.Load() == 0 })
	stop()
	all.Wait()
	if g.used != 0 || g.size() != 0 {
		t.Errorf("%d slots are lost", g.used)
	}
}
