package bench

import (
	"fmt"
	"io"
	"sync"
	"time"

	"moltbot/ops/bench/load"
)

// progress refreshes one line about what is being measured.
type progress struct {
	w     io.Writer
	turns int
	quit  chan struct{}
	wg    sync.WaitGroup

	mu    sync.Mutex
	what  string
	loop  string
	began time.Time
	takes time.Duration
	live  *load.Live
	last  uint64 // answers at the previous refresh
	seen  time.Time
}

const refresh = 250 * time.Millisecond

// newProgress writes to w until stop; without w it does nothing.
func newProgress(w io.Writer, turns int) *progress {
	p := &progress{w: w, turns: turns, quit: make(chan struct{})}
	if w == nil {
		return p
	}
	p.wg.Go(func() {
		tick := time.NewTicker(refresh)
		defer tick.Stop()
		for {
			select {
			case <-p.quit:
				fmt.Fprint(p.w, "\r\x1b[K")
				return
			case now := <-tick.C:
				fmt.Fprint(p.w, "\r\x1b[K", p.line(now))
			}
		}
	})
	return p
}

func (p *progress) stop() {
	close(p.quit)
	p.wg.Wait()
}

// turn says which measurement begins.
func (p *progress) turn(i int, t turn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what = fmt.Sprintf("%d/%d %s %s", i, p.turns, t.Scenario, t.Durability)
	if t.Workers > 0 {
		p.what += fmt.Sprintf(" %d workers", t.Workers)
	}
	p.loop, p.live = "starting", nil
}

// phase says which loop begins, and gives the counts that it is to keep.
func (p *progress) phase(loop string, warmup, duration time.Duration) *load.Live {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loop, p.began, p.takes = loop, time.Now(), warmup+duration
	p.live, p.last, p.seen = &load.Live{}, 0, p.began
	return p.live
}

func (p *progress) line(now time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live == nil {
		return p.what + "  " + p.loop
	}
	done := p.live.Done.Load()
	rate := float64(done-p.last) / max(now.Sub(p.seen).Seconds(), 0.001)
	p.last, p.seen = done, now
	return fmt.Sprintf("%s  %s loop  %.0f of %.0f s  %.0f req/s  %d errors", p.what, p.loop,
		now.Sub(p.began).Seconds(), p.takes.Seconds(), rate, p.live.Failed.Load())
}
