package bench

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"moltbot/ops/bench/load"
	"moltbot/ops/bench/report"
)

const (
	waitingModel   = 5 * time.Second
	waitingWorkers = 2
	arriveWithin   = 0.8 // of the model's time: all requests have come before the first is answered
)

// waiting lets many requests wait for a slow model at the same time.
func (b *bench) waiting(ctx context.Context, t turn) ([]report.Row, error) {
	takes, n := b.o.ModelTime, b.o.Requests
	defaults(&takes, waitingModel)
	if err := enoughFiles(n); err != nil {
		return nil, err
	}
	t.Callers = n
	s, err := b.cluster(ctx, t, roles{ingress: 1, workers: waitingWorkers, slots: (n + waitingWorkers - 1) / waitingWorkers, model: takes})
	if err != nil {
		return nil, err
	}
	rate := float64(n) / (arriveWithin * takes.Seconds())
	if b.o.Rate > 0 {
		rate = b.o.Rate
	}
	o := load.Options{
		Addresses: s.addresses, Target: s.target, Callers: n, Rate: rate, Count: uint64(n), Timeout: 3*takes + requestTimeout,
	}
	g := &gauge{s: s}
	o.Begin, o.End = g.begin, g.end
	o.Live = b.progress.phase(loopOpen, 0, 2*takes)
	peak := g.peakMemory(ctx, o.Live)
	res, err := load.Open(ctx, o)
	top := peak()
	if err != nil || g.err != nil {
		return nil, s.close(firstOf(err, g.err))
	}
	r := row(t, loopOpen, rate, res, g)
	r.RSS = top.rss
	ms := float64(takes.Milliseconds())
	r.Note = fmt.Sprintf("%d of %d answered, most at once %d; over the model's %s: P50 %.0f ms, P99 %.0f ms, max %.0f ms; with %d waiting %s",
		r.Requests, n, r.Peak, takes, r.Latency.P50-ms, r.Latency.P99-ms, r.Latency.Max-ms, top.waiting, memory(top))
	return []report.Row{r}, s.close(nil)
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// held is what the servers hold in memory at one moment.
type held struct {
	waiting     int64             // requests in flight
	processes   map[string]int    // by role
	rss, shared map[string]uint64 // by role; shared is the part of rss that they share with each other
}

// peakMemory reads the memory time and again while the load runs. The returned
// function ends that and gives the reading with the most requests in flight,
// and of several such the one with the most memory.
func (g *gauge) peakMemory(ctx context.Context, live *load.Live) func() held {
	found := make(chan held, 1)
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		var top held
		for pause(ctx, sampleEvery) == nil {
			if h := g.hold(live.InFlight.Load()); h.over(top) {
				top = h
			}
		}
		found <- top
	}()
	return func() held {
		cancel()
		return <-found
	}
}

const sampleEvery = 250 * time.Millisecond

// hold reads the memory of all servers now.
func (g *gauge) hold(waiting int64) held {
	h := held{waiting: waiting, processes: map[string]int{}, rss: map[string]uint64{}, shared: map[string]uint64{}}
	at := &gauge{s: g.s, rss: h.rss}
	for _, c := range g.s.servers {
		if u, err := c.Usage(); err == nil { // it may have ended; closing the stand says so
			at.add(c.role, u)
			h.shared[c.role] += u.Shared
			h.processes[c.role]++
		}
	}
	return h
}

func (h held) over(top held) bool {
	return h.waiting > top.waiting || h.waiting == top.waiting && h.sum() > top.sum()
}

func (h held) sum() (n uint64) {
	for _, rss := range h.rss {
		n += rss
	}
	return n
}

const spareFiles = 500 // of every process, beside one per request

// enoughFiles refuses what the limit on open files would turn into errors. Go
// programs raise the soft limit to the hard one by themselves.
func enoughFiles(requests int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	// A worker process holds, for each slot, a connection to Redis and one to the
	// model; with two of them that is as many as there are requests.
	if need := uint64(requests + spareFiles); limit.Max < need {
		return fmt.Errorf("%d requests at once need %d open files, the hard limit is %d: raise it (ulimit -Hn) or ask for fewer with --requests",
			requests, need, limit.Max)
	}
	return nil
}
