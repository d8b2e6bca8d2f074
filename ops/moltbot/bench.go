package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/mattn/go-isatty"

	"moltbot/ops/bench"
	"moltbot/ops/bench/child"
	"moltbot/ops/bench/floor"
	"moltbot/ops/bench/outside"
	"moltbot/ops/bench/report"
)

// benchKey is where the key for --against comes from: a flag would show in the
// list of processes.
const benchKey = "MOLTBOT_BENCH_API_KEY"

type benchCmd struct {
	Scenario []string `arg:"" optional:"" help:"health, floor (the bare pipeline), chat, openai, cache, fresh, context, waiting, scale, stream, strangers, webhook or idle. Default: floor chat."`

	Callers     []int         `placeholder:"N,..." help:"Callers of the closed loop, or clients of stream; several with commas are measured one by one (default: 64, in stream 200)."`
	Loop        string        `default:"both" enum:"closed,open,both" help:"closed finds the throughput, open the latencies at a given rate."`
	Rate        float64       `placeholder:"N" help:"Arrivals per second in the open loop (default: 70 % of the throughput found); in strangers, of the strangers (default: 10000); in webhook, of the callbacks (default: 100)."`
	MaxInFlight int           `default:"4096" help:"Most requests in flight in the open loop; arrivals beyond are counted as errors."`
	Duration    time.Duration `default:"10s" help:"Measured time of each loop."`
	Warmup      time.Duration `default:"2s" help:"Time before it, under the same load."`
	Runs        int           `default:"1" help:"Repetitions, in turns; medians and spread are reported."`
	Durability  []string      `default:"os" help:"os, fsync, or both with a comma between."`
	Slots       int           `default:"128" help:"Messages worked on at the same time, floor, chat and openai."`
	Requests    int           `default:"10000" help:"Requests of the scenario waiting."`
	ModelTime   time.Duration `placeholder:"TIME" help:"How long the model takes (default: 5s in waiting, 500ms in scale, 10s in stream)."`

	Against         string `placeholder:"URL" help:"Measure another OpenAI-compatible server: POST URL/v1/chat/completions. Its key is read from MOLTBOT_BENCH_API_KEY."`
	Model           string `placeholder:"NAME" help:"Model to ask for with --against."`
	YesLoadThatHost bool   `help:"Allow --against to name another machine."`

	JSON       bool   `help:"Print JSON instead of the table."`
	Baseline   string `placeholder:"FILE" type:"existingfile" help:"Compare with what --json printed earlier."`
	Cpuprofile string `placeholder:"DIR" type:"path" help:"Write CPU, memory, lock and blocking profiles of the servers below DIR. They make everything slower."`
}

// Help is shown below the flags.
func (benchCmd) Help() string {
	return `Each scenario runs in processes of its own on an empty data directory. First a closed loop: each caller sends its
next request when the answer is there; this finds the throughput. Then an open loop: requests arrive by a schedule
at 70 % of it, and latency counts from the scheduled moment, so that a server that stalls cannot hide it.

Compare the ratio chat/floor, not figures of different machines or days. Exit status 1 when any answer was missing
or wrong.`
}

// Run measures and prints.
func (b *benchCmd) Run(ctx context.Context, out *console) error {
	var baseline *report.Report
	if b.Baseline != "" {
		var err error
		if baseline, err = report.Read(b.Baseline); err != nil {
			return err
		}
	}
	found, err := bench.Run(ctx, bench.Options{
		Scenarios: b.Scenario, Callers: b.Callers, Loop: b.Loop, Rate: b.Rate, MaxInFlight: b.MaxInFlight, Slots: b.Slots,
		Warmup: b.Warmup, Duration: b.Duration, Runs: b.Runs, Durability: b.Durability, Requests: b.Requests,
		ModelTime: b.ModelTime, Against: b.Against, Model: b.Model, Key: os.Getenv(benchKey), LoadThatHost: b.YesLoadThatHost,
		Profiles: b.Cpuprofile, Progress: terminal(out.err), Version: version(),
	})
	if len(found.Rows) > 0 {
		err = errors.Join(err, b.print(out.out, &found, baseline))
	}
	if n := found.Failed(); n > 0 {
		err = errors.Join(err, fmt.Errorf("%d requests failed", n))
	}
	return err
}

func (b *benchCmd) print(w io.Writer, r, baseline *report.Report) error {
	if b.JSON {
		return r.WriteJSON(w)
	}
	return r.WriteTable(w, baseline)
}

// terminal is w where somebody watches, else nil.
func terminal(w io.Writer) io.Writer {
	if f, is := w.(*os.File); is && isatty.IsTerminal(f.Fd()) {
		return f
	}
	return nil
}

// benchChild is what the processes that a bench starts have in common: they end
// with a signal, and when the bench is gone.
type benchChild struct {
	DataDir    string `name:"data-dir" placeholder:"DIR"`
	Durability string `default:"os" enum:"os,fsync"`
}

// attended ends when ctx does or standard input is closed, which happens when
// the bench dies.
func attended(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, bufio.NewReader(os.Stdin)) // the end is all that is waited for
		cancel()
	}()
	return ctx, cancel
}

type benchFloorCmd struct {
	benchChild
	Slots int `default:"128"`
	profiled
}

// Run serves the bare pipeline.
func (f *benchFloorCmd) Run(ctx context.Context, out *console) error {
	ctx, stop := attended(ctx)
	defer stop()
	f.profile(ctx, out)
	return floor.Run(ctx, floor.Options{
		Dir: f.DataDir, Durability: f.Durability, Slots: f.Slots,
		Ready: func(address string) { fmt.Fprintf(out.out, "floor is ready on http://%s\n", address) },
	})
}

type benchBackendCmd struct{ benchChild }

// Run serves a NATS and a Redis.
func (b *benchBackendCmd) Run(ctx context.Context, out *console) error {
	ctx, stop := attended(ctx)
	defer stop()
	return outside.RunBackend(ctx, outside.BackendOptions{
		Dir: b.DataDir, Durability: b.Durability,
		Ready: func(nats, redis string) { fmt.Fprintf(out.out, "nats %s\nredis %s\n", nats, redis) },
	})
}

type benchModelCmd struct {
	Takes  time.Duration `default:"1s"`
	Tokens int           `default:"0"`
}

// Run serves a slow model.
func (m *benchModelCmd) Run(ctx context.Context, out *console) error {
	ctx, stop := attended(ctx)
	defer stop()
	return outside.RunModel(ctx, outside.ModelOptions{
		Takes: m.Takes, Tokens: m.Tokens, Ready: func(url string) { fmt.Fprintf(out.out, "model %s\n", url) },
	})
}

// profiled lets a bench ask the process for profiles.
type profiled struct {
	BenchProfile string `hidden:"" type:"path"`
}

func (p profiled) profile(ctx context.Context, out *console) {
	if p.BenchProfile == "" {
		return
	}
	child.Profile(ctx, p.BenchProfile, func(err error) {
		if err != nil {
			fmt.Fprintln(out.err, "moltbot:", err)
			return
		}
		fmt.Fprintln(out.out, child.ProfilesWritten)
	})
}
