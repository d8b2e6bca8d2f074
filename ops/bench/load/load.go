// Package load puts requests on an HTTP server and records what came back: in a
// closed loop, where each caller waits for its answer, or in an open loop, where
// requests arrive by a schedule whatever the server does. It drops nothing
// silently, and it never knows what it is talking to.
package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/valyala/fasthttp"
)

// Target is what is asked. Its methods are called by many callers at once.
type Target interface {
	// Init writes what all requests of one caller have in common.
	Init(r *fasthttp.Request)
	// Prepare writes request n; no two requests have the same n.
	Prepare(r *fasthttp.Request, n uint64)
	// Judge names what is wrong with the answer to request n, or is empty. The
	// names are few: they are counted.
	Judge(r *fasthttp.Response, n uint64) (fault string)
}

// Options of a load.
type Options struct {
	// Addresses are host:port; the callers take turns. Required.
	Addresses []string
	// Target makes and judges the requests. Required.
	Target Target
	// TLS is nil for plain HTTP.
	TLS *tls.Config
	// Callers is how many requests may be in flight. Required.
	Callers int
	// Ready is how many connections are made before the first request; open loop
	// only. A burst of new ones would be a load of its own. Default: none.
	Ready int
	// Rate is the mean number of arrivals in a second; open loop only.
	Rate float64
	// Count ends an open loop after so many arrivals. Default: no limit.
	Count uint64
	// Warmup is loaded as well, and not recorded. Default: none.
	Warmup time.Duration
	// Duration is what is recorded. Required, unless Count is given.
	Duration time.Duration
	// Status is the one that good answers have. Default: 200.
	Status int
	// Also is another status that is as good. Default: none.
	Also int
	// Timeout bounds one request. Default: 30s.
	Timeout time.Duration
	// First is the number of the first request. Default: 0.
	First uint64
	// Live is counted up while the load runs. Default: nobody looks.
	Live *Live
	// Begin and End are called when the recording begins and ends, before the
	// last answers are there. Default: nothing.
	Begin, End func()
}

// Live are the counts of a load that is running.
type Live struct {
	Done, Failed atomic.Uint64
	InFlight     atomic.Int64 // requests that wait for their answer
}

func (o Options) withDefaults() (Options, error) {
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Status == 0 {
		o.Status = fasthttp.StatusOK
	}
	if o.Live == nil {
		o.Live = &Live{}
	}
	if o.Begin == nil {
		o.Begin = func() {}
	}
	if o.End == nil {
		o.End = func() {}
	}
	var errs []error
	if len(o.Addresses) == 0 || o.Target == nil {
		errs = append(errs, errors.New("addresses and a target are needed"))
	}
	if o.Callers < 1 {
		errs = append(errs, fmt.Errorf("callers (%d) must be at least 1", o.Callers))
	}
	if o.Duration <= 0 && o.Count == 0 {
		errs = append(errs, fmt.Errorf("duration (%s) must be positive", o.Duration))
	}
	return o, errors.Join(errs...)
}

// Result is what was recorded.
type Result struct {
	// Latency is in microseconds: of a closed loop from the sending, of an open
	// loop from the moment the schedule had for the request.
	Latency *hdrhistogram.Histogram
	// Lag is, in an open loop, how long after that moment the request was handed
	// to a connection; also in microseconds.
	Lag *hdrhistogram.Histogram
	// Elapsed is the time that was recorded.
	Elapsed time.Duration
	// Sent counts the requests of the whole load, with the warm-up.
	Sent uint64
	// Faults counts what failed, by kind, with the warm-up.
	Faults map[string]uint64
	// Overflow counts arrivals that were not sent, because as many requests as
	// allowed were in flight; with the warm-up.
	Overflow uint64
	// Peak is the most requests that were in flight at once.
	Peak int64
	// Next is the first number that was not used.
	Next uint64
}

// PerSecond is the throughput of good answers.
func (r Result) PerSecond() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Latency.TotalCount()) / r.Elapsed.Seconds()
}

// Failed counts everything that did not go well.
func (r Result) Failed() uint64 {
	n := r.Overflow
	for _, c := range r.Faults {
		n += c
	}
	return n
}

// run is a load under way.
type run struct {
	o          Options
	rec        *recorder
	next       atomic.Uint64
	sent       atomic.Uint64
	peak       atomic.Int64
	began, end time.Time // of what is recorded; end is zero where Count decides
}

func newRun(o Options) *run {
	r := &run{o: o, rec: newRecorder(o.Timeout)}
	r.next.Store(o.First)
	return r
}

// start sets the times: now begins the warm-up.
func (r *run) start() {
	r.began = time.Now().Add(r.o.Warmup)
	if r.o.Duration > 0 {
		r.end = r.began.Add(r.o.Duration)
	}
}

// enter counts a request in flight.
func (r *run) enter() {
	r.sent.Add(1)
	n := r.o.Live.InFlight.Add(1)
	for p := r.peak.Load(); n > p && !r.peak.CompareAndSwap(p, n); p = r.peak.Load() {
	}
}

func (r *run) over(now time.Time) bool { return !r.end.IsZero() && !now.Before(r.end) }

// edges calls Begin and End at their times. The returned function waits for
// that, and calls an End that is still to come.
func (r *run) edges(ctx context.Context) (finish func()) {
	ended, done := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if !until(ctx, r.began) {
			return
		}
		r.o.Begin()
		if r.end.IsZero() {
			<-ended.Done()
		} else {
			until(ctx, r.end)
		}
		r.o.End()
	})
	return func() { done(); wg.Wait() }
}

// until waits for a moment. It reports false when ctx ends first.
func until(ctx context.Context, t time.Time) bool {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (r *run) result(elapsed time.Duration) Result {
	res := Result{
		Elapsed: elapsed, Sent: r.sent.Load(), Overflow: r.rec.overflow.Load(), Peak: r.peak.Load(), Next: r.next.Load(),
	}
	res.Latency, res.Lag, res.Faults = r.rec.merged()
	return res
}
