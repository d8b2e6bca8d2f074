package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"moltbot/ops/bench/load"
	"moltbot/ops/bench/report"
)

// The scenario strangers: chat as usual, and beside it somebody who asks for made-up
// messages and sessions: without a token, with one whose rate is the default, and
// with one without limit.
const (
	strangersRate   = 10_000
	strangersFlight = 512
	strangersLimit  = "10/20" // the default of http.rate_limit
	strangeLetters  = "0123456789abcdefghijklmnopqrstuv"
	// The usual callers of the open loop come at this share of what a closed loop
	// found. Without one, which takes all of the machine so that any further load
	// slows it, they come at a share of the strangers' rate.
	usualLoad  = 0.3
	usualShare = 0.05
)

// company is who comes beside the usual callers. Good answers have one of two statuses.
type company struct {
	name         string // behind that of the scenario
	token        string
	status, also int
}

// strangers measures the usual callers alone and beside each kind of stranger, on
// the same servers, so that the rows of a loop compare.
func (b *bench) strangers(ctx context.Context, t turn) ([]report.Row, error) {
	target := &chatTarget{sessions: sessions(t.Callers)}
	s, err := b.up(ctx, t, target)
	if err != nil {
		return nil, err
	}
	s.profiled = nil
	limited, err := b.command(ctx, s, "token", "token", "--data-dir", filepath.Join(s.dir, "data"), "-u", "stranger", "-d", "1", "--rate", strangersLimit)
	if err != nil {
		return nil, s.close(fmt.Errorf("make a token for strangers: %w", err))
	}
	m := &meeting{bench: b, stand: s, turn: t, rate: b.o.Rate, kinds: []*company{
		nil,
		{name: ", no token", status: fasthttp.StatusUnauthorized},
		{name: ", limited token", token: strings.TrimSpace(limited), status: fasthttp.StatusNotFound, also: fasthttp.StatusTooManyRequests},
		{name: ", unlimited token", token: target.token, status: fasthttp.StatusNotFound},
	}}
	defaults(&m.rate, float64(strangersRate))
	rows, err := m.measure(ctx)
	return rows, s.close(err)
}

// meeting is what stays the same from row to row, and how far it has come.
type meeting struct {
	*bench
	stand *stand
	turn  turn
	rate  float64 // of the strangers
	kinds []*company
	first uint64 // number of the next request of the usual callers
}

func (m *meeting) measure(ctx context.Context) ([]report.Row, error) {
	closed := load.Options{
		Addresses: m.stand.addresses, Target: m.stand.target, Callers: m.turn.Callers, Warmup: m.o.Warmup, Duration: m.o.Duration, Timeout: requestTimeout,
	}
	open := closed
	open.Callers, open.Ready, open.Rate = m.o.MaxInFlight, minReady, m.rate*usualShare
	switch m.o.Loop {
	case loopClosed:
		return m.loop(ctx, loopClosed, closed, m.kinds)
	case loopOpen:
		return m.loop(ctx, loopOpen, open, m.kinds)
	}
	rows, err := m.loop(ctx, loopClosed, closed, m.kinds[:1])
	if err != nil {
		return rows, err
	}
	if open.Rate = usualLoad * rows[0].PerSecond; open.Rate <= 0 {
		return rows, errors.New("nothing was answered, so there is no rate for the open loop")
	}
	more, err := m.loop(ctx, loopOpen, open, m.kinds)
	return append(rows, more...), err
}

// loop gives a row for each kind of stranger, compared with the first, without any.
func (m *meeting) loop(ctx context.Context, loop string, o load.Options, kinds []*company) ([]report.Row, error) {
	var rows []report.Row
	for _, kind := range kinds {
		o.First = m.first
		row, err := m.beside(ctx, loop, o, kind)
		if err != nil {
			return rows, err
		}
		if rows = append(rows, row); kind != nil {
			last := &rows[len(rows)-1]
			last.Note = fmt.Sprintf("%s; the usual callers: throughput %+.1f %%, P50 %.1f ms (%.1f alone), P99 %.1f ms (%.1f alone)", last.Note,
				100*(row.PerSecond/rows[0].PerSecond-1), row.Latency.P50, rows[0].Latency.P50, row.Latency.P99, rows[0].Latency.P99)
		}
	}
	return rows, nil
}

// beside is one row: the usual callers, with strangers of a kind or without.
func (m *meeting) beside(ctx context.Context, loop string, o load.Options, kind *company) (report.Row, error) {
	if kind == nil {
		row, res, err := m.watched(ctx, m.turn, m.stand, loop, o)
		m.first = res.Next
		return row, err
	}
	t := m.turn
	t.Scenario += kind.name
	type ended struct {
		load.Result
		err error
	}
	come := make(chan ended, 1)
	go func() {
		res, err := load.Open(ctx, load.Options{
			Addresses: m.stand.addresses, Target: strangeTarget{kind.token}, Callers: strangersFlight, Ready: minReady, Rate: m.rate,
			Status: kind.status, Also: kind.also, Warmup: o.Warmup, Duration: o.Duration + time.Second, Timeout: requestTimeout,
		})
		come <- ended{res, err}
	}()
	row, res, err := m.watched(ctx, t, m.stand, loop, o)
	m.first = res.Next
	strange := <-come
	if err = errors.Join(err, strange.err); err != nil {
		return row, err
	}
	row.Note = fmt.Sprintf("%.0f strange requests/s were answered, of %.0f asked", strange.PerSecond(), m.rate)
	if n := strange.Failed(); n > 0 {
		row.Note += fmt.Sprintf(" (%d were not: %v, %d not sent)", n, strange.Faults, strange.Overflow)
	}
	return row, nil
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
