package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Closed keeps every caller busy: the next request goes out when the answer is
// there. It finds the throughput; its latencies are those of callers that wait
// politely while the server stalls.
func Closed(ctx context.Context, o Options) (Result, error) {
	o, err := o.withDefaults()
	if err == nil && o.Duration <= 0 {
		err = errors.New("duration must be positive")
	}
	if err != nil {
		return Result{}, fmt.Errorf("closed loop: %w", err)
	}
	r := newRun(o)
	r.start()
	finish := r.edges(ctx)
	var wg sync.WaitGroup
	for i := range o.Callers {
		wg.Go(func() { r.loop(ctx, newCaller(r, i)) })
	}
	wg.Wait()
	finish()
	return r.result(o.Duration), context.Cause(ctx)
}

func (r *run) loop(ctx context.Context, c *caller) {
	defer c.close()
	defer context.AfterFunc(ctx, c.interrupt)()
	for ctx.Err() == nil {
		sent := time.Now()
		if r.over(sent) {
			return
		}
		n := r.next.Add(1) - 1
		fault := c.ask(ctx, sent, n)
		if fault != "" {
			if ctx.Err() == nil {
				r.fault(fault)
				until(ctx, time.Now().Add(pauseAfterFault))
			}
			continue
		}
		r.o.Live.Done.Add(1)
		// An answer counts where it arrives: throughput is what came in between.
		if now := time.Now(); !now.Before(r.began) && !r.over(now) {
			r.rec.latency(n, now.Sub(sent))
		}
	}
}

// A server that refuses is not asked again at once: the load would become one
// of failures.
const pauseAfterFault = 10 * time.Millisecond

func (r *run) fault(kind string) {
	r.o.Live.Failed.Add(1)
	r.rec.fault(kind)
}
