package bench

import (
	"context"
	"errors"
	"fmt"

	"moltbot/ops/bench/load"
	"moltbot/ops/bench/report"
)

// load measures a stand: a closed loop for the throughput, then an open one at a
// share of it for the latencies.
func (b *bench) load(ctx context.Context, t turn, s *stand) ([]report.Row, error) {
	var rows []report.Row
	rate, first := b.o.Rate, uint64(0)
	o := load.Options{
		Addresses: s.addresses, Target: s.target, TLS: s.tls, Callers: t.Callers,
		Warmup: b.o.Warmup, Duration: b.o.Duration, Timeout: requestTimeout,
	}
	if b.o.Loop != loopOpen {
		row, res, err := b.watched(ctx, t, s, loopClosed, o)
		if err != nil {
			return rows, err
		}
		rows, first = append(rows, row), res.Next
		if rate == 0 {
			rate = OpenShare * row.PerSecond
		}
	}
	if err := s.profiles(ctx); err != nil {
		return rows, err
	}
	if b.o.Loop == loopClosed {
		return rows, nil
	}
	if rate <= 0 {
		return rows, errors.New("nothing was answered, so there is no rate for the open loop")
	}
	o.Rate, o.First, o.Callers, o.Ready = rate, first, b.o.MaxInFlight, max(minReady, 4*t.Callers)
	profiled := b.o.Loop == loopOpen
	if !profiled {
		s.profiled = nil
	}
	row, _, err := b.watched(ctx, t, s, loopOpen, o)
	if err != nil {
		return rows, err
	}
	return append(rows, row), s.profiles(ctx)
}

const minReady = 256 // connections of an open loop; a stall needs more, which are made then

// watched runs one loop and reads the gauges beside it.
func (b *bench) watched(ctx context.Context, t turn, s *stand, loop string, o load.Options) (report.Row, load.Result, error) {
	g := &gauge{s: s}
	o.Begin, o.End = g.begin, g.end
	o.Live = b.progress.phase(loop, o.Warmup, o.Duration)
	put := load.Closed
	if loop == loopOpen {
		put = load.Open
	}
	res, err := put(ctx, o)
	if err = errors.Join(err, g.err); err != nil {
		return report.Row{}, res, fmt.Errorf("%s loop: %w", loop, err)
	}
	return row(t, loop, o.Rate, res, g), res, nil
}

func row(t turn, loop string, rate float64, res load.Result, g *gauge) report.Row {
	r := report.Row{
		Key: t.Key, Run: t.run, Rate: rate, Requests: uint64(res.Latency.TotalCount()), PerSecond: res.PerSecond(),
		Latency: report.LatencyOf(res.Latency), LagP99: report.LatencyOf(res.Lag).P99, Failed: res.Failed(), Faults: res.Faults,
		Overflow: res.Overflow, Peak: res.Peak, Asked: res.Sent, CPU: g.cpu, BenchCPU: g.bench, OtherCPU: g.others, RSS: g.rss,
	}
	r.Loop = loop
	return r
}
