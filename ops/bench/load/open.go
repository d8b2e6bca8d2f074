package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"
)

// Open sends requests by a schedule of random gaps around the mean, as
// independent users do (a Poisson process, the same in every run). Each latency
// counts from the scheduled moment, so a server that stalls is charged for
// everybody who would have come meanwhile.
func Open(ctx context.Context, o Options) (Result, error) {
	o, err := o.withDefaults()
	if err == nil && o.Rate <= 0 {
		err = errors.New("rate must be positive")
	}
	if err != nil {
		return Result{}, fmt.Errorf("open loop: %w", err)
	}
	r := newRun(o)
	p := &crew{r: r}
	p.ready(ctx, min(o.Ready, o.Callers))
	r.start()
	finish := r.edges(ctx)
	p.dispatch(ctx)
	elapsed := o.Duration
	p.dismiss()
	if r.end.IsZero() {
		elapsed = time.Since(r.began)
	}
	finish()
	return r.result(elapsed), context.Cause(ctx)
}

// arrival is one request of the schedule.
type arrival struct {
	n  uint64
	at time.Time
}

// crew are the callers of an open loop. The one that came back last goes next,
// so that no more connections are used than the load needs.
type crew struct {
	r    *run
	wg   sync.WaitGroup
	mu   sync.Mutex
	idle []chan arrival
	all  []chan arrival
}

// schedule gives the moments of arrival, from start on.
func schedule(start time.Time, rate float64) func() time.Time {
	gaps := rand.New(rand.NewPCG(1, 2))
	var at float64 // seconds; summed up here, rounding would add up
	return func() time.Time {
		at += gaps.ExpFloat64() / rate
		return start.Add(time.Duration(at * float64(time.Second)))
	}
}

func (p *crew) dispatch(ctx context.Context) {
	runtime.LockOSThread() // the pace sleeps in the kernel, which is finer than the runtime's timers
	defer runtime.UnlockOSThread()
	next := schedule(p.r.began.Add(-p.r.o.Warmup), p.r.o.Rate)
	for sent := uint64(0); p.r.o.Count == 0 || sent < p.r.o.Count; sent++ {
		at := next()
		if p.r.over(at) || !pace(ctx, at) {
			return
		}
		p.send(ctx, arrival{p.r.next.Add(1) - 1, at})
	}
}

// ready hires callers that are connected. One that cannot connect now tries
// again when it is needed, and that is counted.
func (p *crew) ready(ctx context.Context, n int) {
	for i := range n {
		c := newCaller(p.r, i)
		if err := c.dial(ctx); err != nil && ctx.Err() != nil {
			return
		}
		p.idle = append(p.idle, p.hire(ctx, c))
	}
}

func (p *crew) hire(ctx context.Context, c *caller) chan arrival {
	in := make(chan arrival, 1)
	p.all = append(p.all, in)
	p.wg.Go(func() { p.work(ctx, c, in) })
	return in
}

// send gives a to a caller that is idle, or to a new one; when there may be no
// more of them, the arrival is counted as overflow.
func (p *crew) send(ctx context.Context, a arrival) {
	p.mu.Lock()
	var to chan arrival
	if last := len(p.idle) - 1; last >= 0 {
		to, p.idle = p.idle[last], p.idle[:last]
	}
	p.mu.Unlock()
	switch {
	case to != nil:
	case len(p.all) < p.r.o.Callers:
		to = p.hire(ctx, newCaller(p.r, len(p.all)))
	default:
		p.r.rec.overflow.Add(1)
		p.r.o.Live.Failed.Add(1)
		return
	}
	to <- a // has room: its caller is idle
}

func (p *crew) work(ctx context.Context, c *caller, in chan arrival) {
	defer c.close()
	defer context.AfterFunc(ctx, c.interrupt)()
	for a := range in {
		p.handle(ctx, c, a)
		p.mu.Lock()
		p.idle = append(p.idle, in)
		p.mu.Unlock()
	}
}

func (p *crew) handle(ctx context.Context, c *caller, a arrival) {
	sent := time.Now()
	recorded := !a.at.Before(p.r.began)
	if recorded {
		p.r.rec.lag(a.n, sent.Sub(a.at))
	}
	if fault := c.ask(ctx, sent, a.n); fault != "" {
		if ctx.Err() == nil {
			p.r.fault(fault)
		}
		return
	}
	p.r.o.Live.Done.Add(1)
	if recorded {
		p.r.rec.latency(a.n, time.Since(a.at))
	}
}

// dismiss waits for the answers that are still to come.
func (p *crew) dismiss() {
	for _, c := range p.all {
		close(c)
	}
	p.wg.Wait()
}
