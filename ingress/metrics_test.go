package ingress

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/trace"

	"moltbot/contracts"
	"moltbot/ingress/limit"
)

func served(t testing.TB) (*metrics, echo.Context) {
	t.Helper()
	m, e := newMetrics(prometheus.NewRegistry(), func() int { return 0 }), echo.New()
	e.POST("/api/chat", func(echo.Context) error { return nil })
	m.know(e)
	c := e.NewContext(httptest.NewRequest(http.MethodPost, "/api/chat", nil), httptest.NewRecorder())
	c.SetPath("/api/chat")
	c.Response().Status = http.StatusOK
	return m, c
}

func counted(m *metrics, c echo.Context) {
	m.store.Observe(0.001)
	m.accepted(false)
	m.replied(true)
	m.served(c, time.Millisecond)
}

// Whatever a client sends, the series are those of the routes.
func TestRoutesAreAClosedSet(t *testing.T) {
	m, c := served(t)
	before := testutil.CollectAndCount(m.requests)
	for _, method := range []string{"POST", "PROPFIND", "x"} {
		for _, path := range []string{"/api/chat", "/other", "/api/chat/1"} {
			c.Request().Method = method
			c.SetPath(path)
			for _, status := range []int{0, 200, 404, 999} {
				c.Response().Status = status
				m.served(c, time.Second)
			}
		}
	}
	if after := testutil.CollectAndCount(m.requests); after != before {
		t.Errorf("%d series became %d", before, after)
	}
	if spanName("x", otherRoute) != otherRoute {
		t.Error("a client names a span")
	}
}

func TestEveryCodeIsCounted(t *testing.T) {
	m, _ := served(t)
	for _, c := range contracts.Codes() {
		if m.problems[c] == nil {
			t.Errorf("%s is not", c)
		}
	}
}

func TestCountingDoesNotAllocate(t *testing.T) {
	m, c := served(t)
	if n := testing.AllocsPerRun(1000, func() { counted(m, c) }); n > 0 {
		t.Errorf("%v allocations for each request", n)
	}
	in := &Ingress{metrics: m}
	if n := testing.AllocsPerRun(1000, func() {
		ctx, end := in.startStore(context.Background())
		if traceHeader(ctx) != nil {
			t.Error("a header without a trace")
		}
		end(nil)
	}); n > 0 {
		t.Errorf("%v allocations for each request without traces", n)
	}
}

// Every batch is counted once, by its size, and told when it had to be split.
func TestBatchesAreCounted(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := newMetrics(reg, func() int { return 0 })
	g := &group{timeout: time.Second, batched: m.batched, hopeless: func(error) bool { return false }}
	g.one = func(context.Context, *entry) (bool, error) { return false, nil }
	for _, fails := range []bool{false, true} {
		for _, n := range []int{1, 3} {
			g.many = func(context.Context, []*entry) error {
				if fails {
					return errors.New("refused")
				}
				return nil
			}
			var es []*entry
			for range n {
				es = append(es, &entry{done: make(chan struct{})})
			}
			g.commit(t.Context(), es)
		}
	}
	if got := testutil.ToFloat64(m.split); got != 1 {
		t.Errorf("%v were split", got)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "moltbot_ingress_batch_messages" {
			continue
		}
		h := f.GetMetric()[0].GetHistogram()
		if h.GetSampleCount() != 4 || h.GetSampleSum() != 8 {
			t.Errorf("%d batches with %v messages", h.GetSampleCount(), h.GetSampleSum())
		}
		if b := h.GetBucket(); b[len(b)-1].GetUpperBound() != maxBatch {
			t.Errorf("the last bucket is for %v", b[len(b)-1].GetUpperBound())
		}
	}
}

func TestLimitsAreShown(t *testing.T) {
	reg := prometheus.NewRegistry()
	countLimits(reg, func() limit.Stats {
		return limit.Stats{Allowed: 1, Refused: 2, Shielded: 3, Fallback: 4, Calls: 5, Failures: 6}
	})
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, x := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "moltbot_ingress_limit_")
			for _, l := range x.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = x.GetCounter().GetValue()
		}
	}
	want := map[string]float64{
		"requests_total allowed": 1, "requests_total refused": 2, "shielded_total": 3, "fallback_total": 4, "calls_total": 5, "failures_total": 6,
	}
	if !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
	countLimits(nil, nil) // shows nothing
}

func TestTraceHeader(t *testing.T) {
	s := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	h := traceHeader(trace.ContextWithSpanContext(t.Context(), s))
	if got, want := h.Get("traceparent"), "00-01000000000000000000000000000000-0200000000000000-01"; got != want || len(h) != 1 {
		t.Errorf("%q (%v), want %q", got, h, want)
	}
	if onlyOne([]string{"a", "b"}) != "" || onlyOne(nil) != "" || onlyOne([]string{"a"}) != "a" {
		t.Error("two parents are none")
	}
}

func BenchmarkMetricsOfARequest(b *testing.B) {
	m, c := served(b)
	b.ReportAllocs()
	for b.Loop() {
		counted(m, c)
	}
}
