package bench

import (
	"context"
	"time"

	"moltbot/ops/bench/report"
)

// idle leaves the product alone and reads what it consumes all the same.
func (b *bench) idle(ctx context.Context, t turn) ([]report.Row, error) {
	s, err := b.up(ctx, t, healthTarget{})
	if err != nil {
		return nil, err
	}
	b.progress.phase(loopNone, b.o.Warmup, b.o.Duration)
	g := &gauge{s: s}
	s.profiled = nil
	if err := pause(ctx, b.o.Warmup); err != nil {
		return nil, s.close(err)
	}
	g.begin()
	if err := pause(ctx, b.o.Duration); err != nil {
		return nil, s.close(err)
	}
	g.end()
	r := report.Row{Key: t.Key, Run: t.run, Faults: map[string]uint64{}, CPU: g.cpu, BenchCPU: g.bench, OtherCPU: g.others, RSS: g.rss}
	r.Loop, r.Note = loopNone, memory(held{rss: g.rss})
	return []report.Row{r}, s.close(g.err)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
