package ingress

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/trace"

	"moltbot/contracts"
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
