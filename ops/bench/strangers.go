package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/valyala/fasthttp"

	"moltbot/ops/bench/load"
	"moltbot/ops/bench/report"
)

// The scenario strangers: chat as usual, and beside it somebody who asks for made-up
// messages and sessions, without a token and then with a good one.
const (
	strangersRate   = 10_000
	strangersFlight = 512
	// usualShare of the strangers' rate is that of the usual callers in an open loop.
	// A closed one takes all of the machine, so that any further load slows it.
	usualShare = 0.05
)

// Names of its rows, behind that of the scenario.
const (
	nobodyBeside   = ""
	strangersOut   = ", no token"
	strangersIn    = ", good token"
	strangeLetters = "0123456789abcdefghijklmnopqrstuv"
)

// strangers measures the usual callers alone and beside each kind of stranger, on
// the same servers, so that the rows compare.
func (b *bench) strangers(ctx context.Context, t turn) ([]report.Row, error) {
	target := &chatTarget{sessions: sessions(t.Callers)}
	s, err := b.up(ctx, t, target)
	if err != nil {
		return nil, err
	}
	s.profiled = nil
	var rows []report.Row
	first := uint64(0)
	for _, kind := range []string{nobodyBeside, strangersOut, strangersIn} {
		row, next, err := b.beside(ctx, t, s, kind, first)
		if err != nil {
			return rows, s.close(err)
		}
		if first = next; len(rows) > 0 {
			row.Note = fmt.Sprintf("%s; the usual callers: throughput %+.1f %%, P50 %.1f ms (%.1f alone), P99 %.1f ms (%.1f alone)", row.Note,
				100*(row.PerSecond/rows[0].PerSecond-1), row.Latency.P50, rows[0].Latency.P50, row.Latency.P99, rows[0].Latency.P99)
		}
		rows = append(rows, row)
	}
	return rows, s.close(nil)
}

// beside is one row: the usual callers, with strangers of a kind or without.
func (b *bench) beside(ctx context.Context, t turn, s *stand, kind string, first uint64) (report.Row, uint64, error) {
	t.Scenario += kind
	o := load.Options{
		Addresses: s.addresses, Target: s.target, Callers: t.Callers, Warmup: b.o.Warmup, Duration: b.o.Duration, Timeout: requestTimeout, First: first,
	}
	rate, loop := b.o.Rate, loopClosed
	defaults(&rate, float64(strangersRate))
	if b.o.Loop == loopOpen {
		loop, o.Rate, o.Callers, o.Ready = loopOpen, rate*usualShare, b.o.MaxInFlight, minReady
	}
	if kind == nobodyBeside {
		row, res, err := b.watched(ctx, t, s, loop, o)
		return row, res.Next, err
	}
	stranger := strangeTarget{}
	status := fasthttp.StatusUnauthorized
	if c, is := s.target.(*chatTarget); is && kind == strangersIn {
		stranger.token, status = c.token, fasthttp.StatusNotFound
	}
	type ended struct {
		load.Result
		err error
	}
	come := make(chan ended, 1)
	go func() {
		res, err := load.Open(ctx, load.Options{
			Addresses: s.addresses, Target: stranger, Callers: strangersFlight, Ready: minReady, Rate: rate, Status: status,
			Warmup: b.o.Warmup, Duration: b.o.Duration + time.Second, Timeout: requestTimeout,
		})
		come <- ended{res, err}
	}()
	row, res, err := b.watched(ctx, t, s, loop, o)
	strange := <-come
	if err = errors.Join(err, strange.err); err != nil {
		return row, res.Next, err
	}
	row.Note = fmt.Sprintf("%.0f strange requests/s were answered, of %.0f asked", strange.PerSecond(), rate)
	if n := strange.Failed(); n > 0 {
		row.Note += fmt.Sprintf(" (%d were not: %v, %d not sent)", n, strange.Faults, strange.Overflow)
	}
	return row, res.Next, nil
}

// strangeTarget asks for what is not there: every other time a message, whose id
// has the right form, else a session.
type strangeTarget struct{ token string }

func (t strangeTarget) Init(r *fasthttp.Request) {
	r.Header.SetMethod(fasthttp.MethodGet)
	if t.token != "" {
		r.Header.Set("Authorization", "Bearer "+t.token)
	}
}

func (strangeTarget) Prepare(r *fasthttp.Request, n uint64) {
	path := make([]byte, 0, 96)
	if n%2 == 0 {
		path = append(path, "/api/sessions/"...)
		path = strange(path, 20)
	} else {
		path = append(path, "/api/chat/"...)
		path = append(strange(path, 26), ".mfkz0000."...)
		path = append(strange(path, 16), '.')
		path = strange(path, 16)
	}
	r.Header.SetRequestURIBytes(path)
}

func strange(b []byte, n int) []byte {
	for range n {
		b = append(b, strangeLetters[rand.N(len(strangeLetters))])
	}
	return b
}

func (strangeTarget) Judge(*fasthttp.Response, uint64) string { return "" }
