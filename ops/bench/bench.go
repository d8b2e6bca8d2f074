// Package bench measures how fast moltbot is, and how fast this machine would
// let it be: it runs the product and a bare pipeline as child processes in
// turns, puts load on them and reports both. It measures only what it started,
// or a server that the user names, and ends everything it started.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"time"

	"moltbot/ops/bench/report"
	"moltbot/ops/embedded"
)

// Options of a bench.
type Options struct {
	// Executable is the moltbot to run. Default: this program.
	Executable string
	// Scenarios, see Names. Default: floor and chat; with Against: none.
	Scenarios []string
	// Callers of the closed loop, or clients of the scenario stream, one measurement
	// for each. Default: 64; stream: 200.
	Callers []int
	// Loop is closed, open or both. Default: both.
	Loop string
	// Rate of the open loop, per second. Default: OpenShare of the throughput
	// that the closed loop found.
	Rate float64
	// MaxInFlight bounds the open loop. Default: 4096.
	MaxInFlight int
	// Slots is how many messages the servers work on at once. Default: 128.
	Slots int
	// Warmup and Duration of each loop. Default: 2s, 10s.
	Warmup, Duration time.Duration
	// Runs, in turns. Default: 1.
	Runs int
	// Durability holds embedded.DurabilityOS, embedded.DurabilityFsync or both.
	// Default: os.
	Durability []string
	// Requests and ModelTime are for the scenarios with a slow model; the time is
	// 5s for waiting, 500ms for scale and 10s for stream by default. Default: 10000.
	Requests  int
	ModelTime time.Duration
	// Against is a server that is not ours, Model and Key what it wants to hear.
	Against, Model, Key string
	// LoadThatHost allows Against to be another machine.
	LoadThatHost bool
	// Profiles is the directory for profiles of the servers. Default: none.
	Profiles string
	// Progress gets a line that is refreshed. Default: nobody looks.
	Progress io.Writer
	// Version is moltbot's, for the report.
	Version string

	readers []int // of the scenario stream
}

// OpenShare is the part of the throughput at which latencies are taken: near
// the limit, every server's queue is endless.
const OpenShare = 0.7

// Loops.
const (
	loopClosed = "closed"
	loopOpen   = "open"
	loopBoth   = "both"
	loopNone   = "none"
)

func (o Options) withDefaults() (Options, error) {
	if len(o.Scenarios) == 0 && o.Against == "" {
		o.Scenarios = []string{Floor, Chat}
	}
	if o.Against != "" {
		o.Scenarios = append(slices.Clone(o.Scenarios), against)
	}
	o.readers = o.Callers
	if len(o.Callers) == 0 {
		o.Callers, o.readers = []int{64}, []int{streamCallers}
	}
	if len(o.Durability) == 0 {
		o.Durability = []string{embedded.DurabilityOS}
	}
	defaults(&o.Loop, loopBoth)
	defaults(&o.MaxInFlight, 4096)
	defaults(&o.Slots, 128)
	defaults(&o.Duration, 10*time.Second)
	defaults(&o.Runs, 1)
	defaults(&o.Requests, 10_000)
	if o.Executable == "" {
		exe, err := os.Executable()
		if err != nil {
			return o, fmt.Errorf("find this program: %w", err)
		}
		o.Executable = exe
	}
	return o, o.check()
}

func defaults[T comparable](to *T, value T) {
	var zero T
	if *to == zero {
		*to = value
	}
}

func (o Options) check() error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	for _, s := range o.Scenarios {
		want(s == against && o.Against != "" || slices.Contains(Names(), s), "there is no scenario %q; there are %v", s, Names())
	}
	for _, n := range o.Callers {
		want(n > 0, "callers (%d) must be at least 1", n)
	}
	for _, d := range o.Durability {
		want(d == embedded.DurabilityOS || d == embedded.DurabilityFsync, "durability %q: want os, fsync, or both with a comma between", d)
	}
	want(slices.Contains([]string{loopClosed, loopOpen, loopBoth}, o.Loop), "loop %q: want closed, open or both", o.Loop)
	want(o.Loop != loopOpen || o.Rate > 0, "an open loop alone needs a rate")
	want(o.Rate >= 0, "rate (%g) must be positive", o.Rate)
	want(o.MaxInFlight > 0, "max in flight (%d) must be at least 1", o.MaxInFlight)
	want(o.Slots > 0, "slots (%d) must be at least 1", o.Slots)
	want(o.Runs > 0, "runs (%d) must be at least 1", o.Runs)
	want(o.Duration > 0, "duration (%s) must be positive", o.Duration)
	want(o.Warmup >= 0, "warm-up (%s) must not be negative", o.Warmup)
	want(o.Requests > 0, "requests (%d) must be at least 1", o.Requests)
	want(o.ModelTime >= 0, "model time (%s) must not be negative", o.ModelTime)
	if o.Against != "" {
		_, err := parseAgainst(o)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// turn is one measurement to make.
type turn struct {
	report.Key
	run int
}

// turns lists them so that what is compared runs one after the other, again and
// again, and not minutes apart.
func (o Options) turns() []turn {
	var all []turn
	for run := range o.Runs {
		for _, callers := range o.Callers {
			for _, d := range o.Durability {
				for _, s := range o.Scenarios {
					all = append(all, o.expand(s, d, callers, run+1)...)
				}
			}
		}
	}
	return all
}

// expand gives the turns of one scenario: those that choose their own callers
// run once for all of --callers, and a foreign server knows no durability.
func (o Options) expand(scenario, durability string, callers, run int) []turn {
	k := report.Key{Scenario: scenario, Durability: durability, Callers: callers}
	first := callers == o.Callers[0]
	switch scenario {
	case against:
		k.Durability = ""
		if durability != o.Durability[0] {
			return nil
		}
	case Idle, Waiting, Webhook:
		k.Callers = 0
		if !first {
			return nil
		}
	case Stream:
		k.Callers = o.readers[slices.Index(o.Callers, callers)]
	case Scale:
		if !first {
			return nil
		}
		var all []turn
		for _, n := range scaleWorkers() {
			all = append(all, turn{report.Key{Scenario: scenario, Durability: durability, Workers: n, Callers: 2 * n * scaleSlots}, run})
		}
		return all
	}
	return []turn{{k, run}}
}

// bench is a run of Run.
type bench struct {
	o        Options
	dir      string
	progress *progress
}

// Run measures. Where it fails half way, the report holds what was measured
// until then.
func Run(ctx context.Context, o Options) (r report.Report, err error) {
	o, err = o.withDefaults()
	if err != nil {
		return r, fmt.Errorf("bench options: %w", err)
	}
	turns := o.turns()
	ctx, cancel := context.WithTimeoutCause(ctx, o.bound(len(turns)), errors.New("the bench took far longer than planned"))
	defer cancel()
	dir, err := os.MkdirTemp("", "moltbot-bench-")
	if err != nil {
		return r, fmt.Errorf("bench: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r = report.Report{Started: time.Now().UTC(), Machine: report.ThisMachine(o.Version), Settings: o.settings(), Rows: []report.Row{}}
	b := &bench{o: o, dir: dir, progress: newProgress(o.Progress, len(turns))}
	defer b.progress.stop()
	for i, t := range turns {
		b.progress.turn(i+1, t)
		rows, e := b.measure(ctx, t)
		r.Rows = append(r.Rows, rows...)
		if e != nil {
			err = fmt.Errorf("bench %s: %w", t.Scenario, e)
			break
		}
	}
	r.Machine.LoadAfter = report.Load()
	r.Finish()
	return r, err
}

// bound is the time after which something must be wrong: the loads, their last
// answers, and start and stop of the processes.
func (o Options) bound(turns int) time.Duration {
	one := 3*(o.Warmup+o.Duration+requestTimeout) + 3*o.ModelTime + startWait + time.Minute
	return time.Duration(turns) * one
}

func (o Options) settings() report.Settings {
	return report.Settings{
		Scenarios: o.Scenarios, Durability: o.Durability, Callers: o.Callers, Loop: o.Loop, Rate: o.Rate, OpenShare: OpenShare,
		MaxInFlight: o.MaxInFlight, Slots: o.Slots, Runs: o.Runs, WarmupS: o.Warmup.Seconds(), DurationS: o.Duration.Seconds(),
		Profiled: o.Profiles != "",
	}
}

func parseAgainst(o Options) (*url.URL, error) {
	u, err := url.Parse(o.Against)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the address to bench against must be like http://127.0.0.1:8000")
	}
	if u.User != nil || u.RawQuery != "" {
		return nil, errors.New("the address to bench against must hold no credentials and no query; the key comes from MOLTBOT_BENCH_API_KEY")
	}
	if !o.LoadThatHost && !loopback(u.Hostname()) {
		return nil, fmt.Errorf("%s is another machine: putting load on it can cost its owner money; if that is you, add --yes-load-that-host", u.Hostname())
	}
	return u, nil
}
