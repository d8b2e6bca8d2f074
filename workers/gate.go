package workers

import (
	"context"
	"sync"
)

// gate is a number of slots that can be changed while they are in use. Shrinking
// takes nothing from who has a slot; it only gives no new ones.
type gate struct {
	mu    sync.Mutex
	limit int
	used  int
	wake  chan struct{} // closed when a slot may have become free; nil while nobody waits
}

func newGate(limit int) *gate { return &gate{limit: limit} }

// acquire waits for at least one slot and takes up to most. It gives 0 when ctx
// ends first.
func (g *gate) acquire(ctx context.Context, most int) int {
	for {
		g.mu.Lock()
		if n := min(g.limit-g.used, most); n > 0 {
			g.used += n
			g.mu.Unlock()
			return n
		}
		if g.wake == nil {
			g.wake = make(chan struct{})
		}
		wake := g.wake
		g.mu.Unlock()
		select {
		case <-ctx.Done():
			return 0
		case <-wake:
		}
	}
}

func (g *gate) release(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.used -= n
	g.signal()
}

// setLimit reports whether more slots are in use than n allows.
func (g *gate) setLimit(n int) (over bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limit = n
	g.signal()
	return g.used > n
}

// fits reports whether one of the slots that were taken, and of which unused are
// not at work yet, may still be put to work: the limit may have shrunk meanwhile.
func (g *gate) fits(unused int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.used-unused < g.limit
}

func (g *gate) size() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.limit
}

func (g *gate) signal() {
	if g.wake != nil {
		close(g.wake)
		g.wake = nil
	}
}
