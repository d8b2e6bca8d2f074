package usage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"moltbot/contracts"
	"moltbot/workers/model"
	"moltbot/workers/workerstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var must = workerstest.Must

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// clock is a time that the test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// book never writes by itself in a test's time, unless the test says so.
func book(t *testing.T, rdb redis.Scripter, change ...func(*Options)) *Book {
	t.Helper()
	o := Options{
		Redis: rdb, Sealer: workerstest.Sealer{}, Namer: workerstest.Namer(t), Log: zerolog.Nop(), Node: "n1",
		Flush: time.Hour, Now: func() time.Time { return noon },
	}
	for _, f := range change {
		f(&o)
	}
	b, err := New(o)
	must(t, err)
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func store(t *testing.T, rdb redis.UniversalClient) *Store {
	t.Helper()
	return NewStore(StoreOptions{
		Redis: rdb, Sealer: workerstest.Sealer{}, Namer: workerstest.Namer(t), Young: time.Nanosecond, Patience: workerstest.Patience,
		Now: func() time.Time { return noon },
	})
}

type upstream func(ctx context.Context, r model.Request) (model.Answer, error)

func (f upstream) Complete(ctx context.Context, r model.Request) (model.Answer, error) {
	return f(ctx, r)
}

// costing answers with these tokens.
func costing(prompt, completion int) upstream {
	return func(context.Context, model.Request) (model.Answer, error) {
		return model.Answer{Text: "x", Usage: contracts.Usage{PromptTokens: prompt, CompletionTokens: completion}}, nil
	}
}

func (b *Book) ask(t *testing.T, u upstream, caller string, e contracts.ModelEntry) model.Answer {
	t.Helper()
	a, err := b.Around(u, "p", "fast", e).Complete(t.Context(), model.Request{Caller: caller})
	must(t, err)
	return a
}

var priced = contracts.ModelEntry{Provider: "p", Model: "m", InputPrice: 2, OutputPrice: 10}

func report(t *testing.T, rdb redis.UniversalClient) contracts.AdminUsage {
	t.Helper()
	r, err := store(t, rdb).Report(t.Context(), "2026-11-19", "2026-11-20")
	must(t, err)
	return r
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// What two processes counted on two days is added up by caller and model.
func TestCounts(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		day := &clock{at: noon.AddDate(0, 0, -1)}
		one := book(t, rdb, func(o *Options) { o.Now = day.now })
		two := book(t, rdb, func(o *Options) { o.Node = "n2" })
		equal(t, "cost", one.ask(t, costing(100, 10), "api:alice", priced).Cost, 0.0003)
		day.move(24 * time.Hour)
		one.ask(t, costing(1, 1), "api:alice", priced)
		one.Spared("api:alice", "fast")
		two.ask(t, costing(1000, 0), "api:alice", priced)
		two.ask(t, costing(5, 5), "api:bob", contracts.ModelEntry{Provider: "p", AnyModel: true})
		must(t, one.Close())
		must(t, two.Close())
		r := report(t, rdb)
		equal(t, "rows", len(r.Rows), 2)
		equal(t, "alice", r.Rows[0], contracts.UsageRow{
			Caller: "api:alice", Model: "fast", Calls: 3, PromptTokens: 1101, CompletionTokens: 11, Cost: 0.0003 + 0.002 + 0.000012, Cached: 1,
		})
		equal(t, "bob", r.Rows[1], contracts.UsageRow{Caller: "api:bob", Model: "fast", Calls: 1, PromptTokens: 5, CompletionTokens: 5})
		equal(t, "calls in all", r.Total.Calls, 4)
		today, err := store(t, rdb).Spent(t.Context(), "api:alice")
		must(t, err)
		equal(t, "alice today", today, 1002)
		for _, k := range rdb.Keys(t.Context(), "*").Val() {
			if left := rdb.PTTL(t.Context(), k).Val(); left <= 39*24*time.Hour {
				t.Errorf("%s lives for %s", k, left)
			}
			for field, value := range rdb.HGetAll(t.Context(), k).Val() {
				if strings.Contains(field+value, "alice") && !strings.HasPrefix(k, "usage-names") {
					t.Errorf("%s names the caller: %s=%s", k, field, value)
				}
			}
		}
	})
}

// A budget is not spared by leaving before the end.
func TestCountsWhatWasPaidWithoutAnAnswer(t *testing.T) {
	rdb := workerstest.MiniRedis(t)
	b := book(t, rdb)
	cut := upstream(func(context.Context, model.Request) (model.Answer, error) {
		return model.Answer{Usage: contracts.Usage{PromptTokens: 100, CompletionTokens: 10}}, context.Canceled
	})
	refused := upstream(func(context.Context, model.Request) (model.Answer, error) { return model.Answer{}, errAnswerLost })
	for _, u := range []upstream{cut, refused} {
		if _, err := b.Around(u, "p", "fast", priced).Complete(t.Context(), model.Request{Caller: "api:alice"}); err == nil {
			t.Error("the error is gone")
		}
	}
	must(t, b.Close())
	equal(t, "row", report(t, rdb).Total, contracts.UsageRow{Calls: 1, PromptTokens: 100, CompletionTokens: 10, Cost: 0.0003})
}

// A count that is full stays as it is: it neither holds up the others for ever, nor
// are they added again with each repetition.
func TestACountThatIsFullIsNotInTheWay(t *testing.T) {
	rdb := workerstest.StartRedis(t).Client(t)
	b := book(t, rdb, func(o *Options) { o.Quotas = map[string]int64{"p": 1000} })
	dear := contracts.ModelEntry{Provider: "p", Model: "m", InputPrice: 1e300}
	for range 3 {
		b.ask(t, costing(10, 1), "api:alice", dear)
		b.ask(t, costing(10, 1), "api:bob", priced)
		must(t, b.write())
	}
	equal(t, "tokens", report(t, rdb).Total.PromptTokens, 60)
	for _, row := range report(t, rdb).Rows {
		if row.Cost < 0 || row.Calls != 3 {
			t.Errorf("%+v", row)
		}
	}
}

func TestReportRefusesSpans(t *testing.T) {
	for _, span := range [][2]string{{"2026-11-20", "2026-11-19"}, {"x", "2026-11-19"}, {"2026-01-01", "2026-11-19"}} {
		_, err := store(t, workerstest.MiniRedis(t)).Report(t.Context(), span[0], span[1])
		equal(t, fmt.Sprint(span), contracts.Public(err).Code, contracts.CodeBadRequest)
	}
}

// Writes come by themselves, a moment after the first count.
func TestWritesByItself(t *testing.T) {
	rdb := workerstest.MiniRedis(t)
	b := book(t, rdb, func(o *Options) { o.Flush = time.Millisecond })
	for i := range 3 {
		b.ask(t, costing(1, 0), "a", priced)
		workerstest.Eventually(t, "the count is written", func() bool { return report(t, rdb).Total.Calls == int64(i+1) })
	}
}

// lossy does what it is asked and loses the answer, as often as it is told to.
type lossy struct {
	redis.Scripter
	mu   sync.Mutex
	lose int
}

var errAnswerLost = errors.New("the answer is lost")

func (l *lossy) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	return l.cut(l.Scripter.EvalSha(ctx, sha, keys, args...))
}

func (l *lossy) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return l.cut(l.Scripter.Eval(ctx, script, keys, args...))
}

func (l *lossy) cut(c *redis.Cmd) *redis.Cmd {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.Err() == nil && l.lose > 0 {
		l.lose--
		c.SetErr(errAnswerLost)
	}
	return c
}

// A write that is repeated, because nobody knows whether it was done, counts once.
func TestRepeatedWriteCountsOnce(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		bad := &lossy{Scripter: rdb, lose: 2}
		b := book(t, bad, func(o *Options) { o.Quotas = map[string]int64{"p": 1000} })
		b.ask(t, costing(3, 4), "a", priced)
		for range 2 {
			if err := b.write(); !errors.Is(err, errAnswerLost) {
				t.Fatal(err)
			}
			b.ask(t, costing(10, 0), "a", priced) // what comes meanwhile is another write
		}
		must(t, b.write())
		must(t, b.write())
		equal(t, "total", report(t, rdb).Total, contracts.UsageRow{Calls: 3, PromptTokens: 23, CompletionTokens: 4, Cost: report(t, rdb).Total.Cost})
	})
}

func TestRedisIsAway(t *testing.T) {
	server := workerstest.StartRedis(t)
	rdb := server.Client(t)
	b := book(t, rdb)
	b.ask(t, costing(1, 0), "a", priced)
	server.Kill()
	for range 3 {
		if err := b.write(); err == nil {
			t.Fatal("written to a dead Redis")
		}
		b.ask(t, costing(1, 0), "a", priced)
	}
	if _, err := store(t, rdb).Spent(t.Context(), "a"); err == nil {
		t.Error("a dead Redis knows what was spent")
	}
	server.Start(t)
	must(t, b.Close())
	equal(t, "calls", report(t, rdb).Total.Calls, 4)
}

// While Redis is away, memory is bounded.
func TestBounded(t *testing.T) {
	reg := prometheus.NewRegistry()
	b := book(t, workerstest.MiniRedis(t), func(o *Options) { o.Most, o.Metrics = 10, reg })
	for i := range 25 {
		b.ask(t, costing(1, 0), fmt.Sprint(i), priced)
	}
	equal(t, "cells", b.cells, 10)
	equal(t, "lost", testutil.ToFloat64(b.metrics.lost), 15)
}

// More than fits into one batch.
func TestManyCallers(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		b := book(t, rdb)
		const callers = 2*mostCells + 7
		for i := range callers {
			b.ask(t, costing(1, 0), fmt.Sprint(i), priced)
		}
		must(t, b.Close())
		r := report(t, rdb)
		equal(t, "rows", len(r.Rows), callers)
		equal(t, "calls", r.Total.Calls, callers)
	})
}

// The thresholds of a quota are said once, whichever process reaches them.
func TestQuota(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		var out bytes.Buffer
		day := &clock{at: noon}
		reg := prometheus.NewRegistry()
		var books []*Book
		for _, node := range []string{"n1", "n2"} {
			books = append(books, book(t, rdb, func(o *Options) {
				o.Node, o.Now, o.Log, o.Quotas = node, day.now, zerolog.New(&out), map[string]int64{"p": 1000, "other": 5}
				if node == "n1" {
					o.Metrics = reg
				}
			}))
		}
		spend := func(b *Book, tokens int, words ...string) {
			t.Helper()
			b.ask(t, costing(tokens, 0), "a", priced)
			must(t, b.write())
			for _, w := range words {
				if !strings.Contains(out.String(), w) {
					t.Errorf("%q is not said: %s", w, out.String())
				}
			}
			equal(t, "lines", strings.Count(out.String(), "\n"), len(words)/2)
			out.Reset()
		}
		spend(books[0], 700)
		spend(books[1], 100, `"level":"warn"`, `"percent":80`)
		spend(books[0], 149)
		spend(books[1], 1, `"level":"error"`, `"percent":95`)
		spend(books[0], 100, `"level":"error"`, `"percent":100`)
		spend(books[1], 500)
		equal(t, "used", books[0].quotas.used("p", 1000), 1.05)
		day.move(24 * time.Hour)
		equal(t, "used on the next day", books[0].quotas.used("p", 1000), 0)
		spend(books[0], 990, `"level":"warn"`, `"percent":80`, `"level":"error"`, `"percent":95`)
		if n, err := testutil.GatherAndCount(reg, "moltbot_model_quota_used_ratio"); err != nil || n != 2 {
			t.Errorf("%d gauges, %v", n, err)
		}
	})
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	at := &clock{at: noon}
	b := book(t, workerstest.MiniRedis(t), func(o *Options) {
		o.Metrics, o.Now, o.Streams = reg, at.now, func(p string) bool { return p == "p" }
	})
	streaming := upstream(func(_ context.Context, r model.Request) (model.Answer, error) {
		at.move(20 * time.Millisecond)
		r.OnDelta("a")
		at.move(time.Second)
		r.OnDelta("b")
		return model.Answer{Usage: contracts.Usage{PromptTokens: 7, CompletionTokens: 2}}, nil
	})
	equal(t, "first token without a reader", b.ask(t, streaming, "secret-caller", priced).FirstToken, 20*time.Millisecond)
	read := ""
	_, err := b.Around(streaming, "p", "fast", priced).Complete(t.Context(), model.Request{OnDelta: func(s string) { read += s }})
	must(t, err)
	equal(t, "read", read, "ab")
	if a, err := b.Around(costing(1, 1), "silent", "slow", priced).Complete(t.Context(), model.Request{}); err != nil || a.FirstToken != 0 {
		t.Errorf("%+v, %v", a, err)
	}
	_, err = b.Around(upstream(func(context.Context, model.Request) (model.Answer, error) { return model.Answer{}, errAnswerLost }), "p", "fast", priced).
		Complete(t.Context(), model.Request{})
	if !errors.Is(err, errAnswerLost) {
		t.Error(err)
	}
	counter := func(v *prometheus.CounterVec, labels ...string) float64 {
		return testutil.ToFloat64(v.WithLabelValues(labels...))
	}
	equal(t, "prompt", counter(b.metrics.tokens, "p", "fast", "prompt"), 14)
	equal(t, "completion", counter(b.metrics.tokens, "p", "fast", "completion"), 4)
	equal(t, "cost", counter(b.metrics.cost, "p", "fast"), 2*(7*2+2*10)/1e6)
	families, err := reg.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() == "moltbot_model_call_duration_seconds" {
			equal(t, "calls that were timed", f.GetMetric()[0].GetHistogram().GetSampleCount(), 3)
		}
		if s := f.String(); strings.Contains(s, "secret-caller") {
			t.Errorf("a caller is a label: %s", s)
		}
	}
}

func TestNoBook(t *testing.T) {
	var b *Book
	u := costing(1, 1)
	if _, is := b.Around(u, "p", "n", priced).(upstream); !is {
		t.Error("no book puts something between")
	}
	b.Spared("a", "n")
}

// However many ask at a time, Redis is asked once.
func TestSpentIsAskedOnce(t *testing.T) {
	rdb := workerstest.MiniRedis(t)
	at := &clock{at: noon}
	s := NewStore(StoreOptions{Redis: rdb, Sealer: workerstest.Sealer{}, Namer: workerstest.Namer(t), Patience: workerstest.Patience, Now: at.now})
	b := book(t, rdb)
	spend := func() { b.ask(t, costing(5, 2), "a", priced); must(t, b.write()) }
	spent := func(want int64) {
		t.Helper()
		n, err := s.Spent(t.Context(), "a")
		must(t, err)
		equal(t, "spent", n, want)
	}
	spend()
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { spent(7) })
	}
	all.Wait()
	spend()
	spent(7)
	at.move(time.Second)
	spent(14)
	at.move(24 * time.Hour)
	spent(0)
}

func TestOptions(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("options without a Redis")
	}
}
