package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"moltbot/contracts"
)

// roll gives what "moltbot workers" knows.
func (y *system) roll() contracts.AdminWorkers {
	y.t.Helper()
	var w contracts.AdminWorkers
	if err := json.Unmarshal([]byte(y.run("workers", "--json")), &w); err != nil {
		y.t.Fatal(err)
	}
	return w
}

// obeys reports whether each of n processes has its limit and runs no more than that.
func obeys(w contracts.AdminWorkers, n, slots int) bool {
	for _, p := range w.Workers {
		if s := p.Pools[contracts.PoolChat]; s.Slots != slots || s.InUse > slots {
			return false
		}
	}
	return len(w.Workers) == n
}

// TestScaleUnderLoad changes the slots of two processes through the command line
// while they work: 4, 32, 2. Each time what runs obeys, and nothing is lost,
// doubled or out of order.
func TestScaleUnderLoad(t *testing.T) {
	aside(t)
	l := newLedger(t, 40*time.Millisecond)
	y := build(t, shape{workers: 2, model: l.model})
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	y.run("scale", "chat=4")
	// Until the test has seen what it wants to see: a slow machine takes longer for it.
	o := &load{conversations: size(60, 200), messages: 5000, pace: 100 * time.Millisecond, prefix: "scale", enough: make(chan struct{})}
	ended := make(chan error, 1)
	go func() { ended <- o.run(ctx, y.client()) }()
	busy := func(atLeast int) {
		t.Helper()
		eventually(t, 20*time.Second, fmt.Sprintf("at least %d run", atLeast), func() bool {
			n := 0
			for _, p := range y.roll().Workers {
				n += p.Pools[contracts.PoolChat].InUse
			}
			return n >= atLeast
		})
	}
	busy(8)
	if w := y.roll(); !obeys(w, 2, 4) {
		t.Errorf("with 4 slots: %+v", w.Workers)
	}
	y.run("scale", "chat=32")
	busy(20)
	y.run("scale", "--no-wait", "chat=2")
	changed := time.Now()
	for !obeys(y.roll(), 2, 2) {
		if time.Since(changed) > 5*time.Second {
			t.Fatalf("it does not shrink: %+v", y.roll().Workers)
		}
	}
	took := time.Since(changed)
	// One look is a process and 300 ms of waiting for further answers.
	t.Logf("2 slots obeyed when looked at %s after the change", took)
	if took > 2*time.Second {
		t.Errorf("obeyed after %s", took)
	}
	close(o.enough)
	y.run("scale", "chat=default")
	if err := <-ended; err != nil {
		y.dump()
		t.Fatal(err)
	}
	l.report(t, o)
	if n := l.inversions(); n > 0 {
		t.Errorf("%d messages ran out of order", n)
	}
	if n := l.doubles(); n > 0 {
		t.Errorf("%d messages ran twice, though nothing was killed", n)
	}
	if w := y.roll(); !obeys(w, 2, 64) || len(w.Wanted) != 0 {
		t.Errorf("after the default: %+v", w)
	}
}
