package bench

import (
	"context"
	"time"

	"moltbot/ops/bench/load"
	"moltbot/ops/bench/report"
)

const (
	scaleModel   = 500 * time.Millisecond
	scaleSlots   = 32 // of one worker process
	scaleIngress = 2
)

// scaleWorkers are the numbers of worker processes that are compared.
func scaleWorkers() []int { return []int{2, 4, 8} }

// scale measures what further worker processes bring when the model is what
// takes the time: there are twice as many callers as slots.
func (b *bench) scale(ctx context.Context, t turn) ([]report.Row, error) {
	takes := b.o.ModelTime
	defaults(&takes, scaleModel)
	s, err := b.cluster(ctx, t, roles{ingress: scaleIngress, workers: t.Workers, slots: scaleSlots, model: takes})
	if err != nil {
		return nil, err
	}
	r, _, err := b.watched(ctx, t, s, loopClosed, load.Options{
		Addresses: s.addresses, Target: s.target, Callers: t.Callers,
		Warmup: b.o.Warmup + 2*takes, Duration: b.o.Duration, Timeout: requestTimeout,
	})
	if err != nil {
		return nil, s.close(err)
	}
	r.Ideal = float64(t.Workers*scaleSlots) / takes.Seconds()
	r.Note = memory(held{rss: r.RSS})
	return []report.Row{r}, s.close(nil)
}
