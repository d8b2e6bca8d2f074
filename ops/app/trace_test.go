package app

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"moltbot/contracts"
)

// tracesAt is a collector that keeps what it is sent.
type tracesAt struct {
	*httptest.Server
	mu    sync.Mutex
	spans []*tracepb.Span
	raw   []byte
	hold  chan struct{} // requests wait until it is closed
}

func collect(t *testing.T) *tracesAt {
	t.Helper()
	c := &tracesAt{hold: make(chan struct{})}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent, err := io.ReadAll(r.Body) // before waiting: a server notices only then that its client left
		if err != nil {
			return
		}
		select {
		case <-c.hold:
		case <-r.Context().Done():
			return
		}
		c.take(t, r, bytes.NewReader(sent))
	}))
	t.Cleanup(func() { c.CloseClientConnections(); c.Close() })
	return c
}

func (c *tracesAt) take(t *testing.T, r *http.Request, body io.Reader) {
	if r.URL.Path != "/v1/traces" {
		t.Errorf("traces are sent to %s", r.URL.Path)
	}
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			t.Error(err)
			return
		}
		body = z
	}
	b, err := io.ReadAll(body)
	if err != nil {
		return // the sender gave up
	}
	var m collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(b, &m); err != nil {
		t.Error(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw = append(c.raw, b...)
	for _, rs := range m.GetResourceSpans() {
		for _, ss := range rs.GetScopeSpans() {
			c.spans = append(c.spans, ss.GetSpans()...)
		}
	}
}

// tree gives "parent > span" of each span of a trace, by name.
func (c *tracesAt) tree(trace string) map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	names, out := map[string]string{}, map[string]bool{}
	for _, s := range c.spans {
		names[string(s.GetSpanId())] = s.GetName()
	}
	for _, s := range c.spans {
		if hex.EncodeToString(s.GetTraceId()) != trace {
			continue
		}
		parent, ours := names[string(s.GetParentSpanId())]
		if !ours {
			parent = hex.EncodeToString(s.GetParentSpanId())
		}
		out[parent+" > "+s.GetName()] = true
	}
	return out
}

func TestTraceFromTheRequestToTheModel(t *testing.T) {
	for name, lookup := range map[string]func(string) (string, error){"stand-in": noServer, "server": exec.LookPath} {
		t.Run(name, func(t *testing.T) {
			if name == "server" {
				startRedis(t) // decides whether there is one
			}
			traceToTheModel(t, lookup)
		})
	}
}

func traceToTheModel(t *testing.T, lookup func(string) (string, error)) {
	leaks := noLeak(t)
	at := collect(t)
	close(at.hold)
	c := settings(t)
	c.Trace.Endpoint, c.Model.Catalog = at.URL, anyModel(0)
	lines := &book{}
	a, err := New(t.Context(), Options{Config: c, Roles: both, Embedded: true, PathLookup: lookup, Log: lines.log()})
	must(t, err)
	r := run(t, a)
	await(t, "ready", r.Ready())
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	token, err := a.Token(canary+"-user", 1, "chat")
	must(t, err)
	body := map[string]any{"message": "hello " + canary, "session_id": canary, "model": "demo/" + canary}
	status, _ := ask(t, a, token, body, "traceparent", "00-"+trace+"-"+span+"-01", "tracestate", "vendor="+canary, "baggage", "b="+canary)
	equal(t, "status", status, http.StatusOK)
	status, answer := ask(t, a, token, map[string]any{"message": "again"}, "traceparent", "00-"+strings.ToUpper(trace)+"-x")
	equal(t, "status", status, http.StatusOK)
	r.stop(t) // sends what is left
	tree := at.tree(trace)
	want := []string{
		span + " > POST /api/chat", "POST /api/chat > store", "store > wait in queue", "store > run message",
		"run message > begin", "run message > model", "run message > commit", "run message > reply",
	}
	for _, w := range want {
		if !tree[w] {
			t.Errorf("not in the trace: %s", w)
		}
	}
	if len(tree) != len(want) {
		t.Errorf("the trace is %v", tree)
	}
	for _, secret := range []string{canary, token} {
		if strings.Contains(string(at.raw), secret) {
			t.Error("a secret was sent to the collector")
		}
	}
	logged(t, lines, trace, "request", "message answered")
	var reply contracts.ChatReply
	must(t, json.Unmarshal(answer, &reply))
	at.mu.Lock()
	defer at.mu.Unlock()
	roots := 0
	for _, s := range at.spans {
		if len(s.GetParentSpanId()) == 0 {
			roots++
		}
	}
	if roots == 0 {
		t.Error("a malformed traceparent was taken for a parent")
	}
	at.CloseClientConnections()
	at.Close()
	leaks()
}

// logged expects a line of each message with the trace's id.
func logged(t *testing.T, lines *book, trace string, messages ...string) {
	t.Helper()
	for _, want := range messages {
		found := false
		for line := range strings.Lines(lines.String()) {
			var l struct {
				Message string
				TraceID string `json:"trace_id"`
			}
			must(t, json.Unmarshal([]byte(line), &l))
			found = found || l.Message == want && l.TraceID == trace
		}
		if !found {
			t.Errorf("no line %q has the trace's id", want)
		}
	}
}

// A collector that takes nothing, or is not there, is nobody's problem.
func TestTracesWithoutACollector(t *testing.T) {
	for name, endpoint := range map[string]func(t *testing.T) string{
		"hangs": func(t *testing.T) string { return collect(t).URL },
		"down":  func(t *testing.T) string { s := collect(t); s.Close(); return s.URL },
	} {
		t.Run(name, func(t *testing.T) {
			c := settings(t)
			c.Trace.Endpoint, c.HTTP.RateLimit = endpoint(t), "off"
			before := goleak.IgnoreCurrent()
			a, lines, err := up(t, c)
			must(t, err)
			r := run(t, a)
			await(t, "ready", r.Ready())
			token, err := a.Token("user", 1, "chat")
			must(t, err)
			for range 20 {
				status, body := ask(t, a, token, map[string]any{"message": "hello"})
				if status != http.StatusOK {
					t.Fatalf("%d %s", status, body)
				}
			}
			r.stop(t)
			if strings.Contains(lines.String(), strings.TrimPrefix(c.Trace.Endpoint, "http://")) {
				t.Errorf("the address is logged: %s", lines)
			}
			// The collector still hangs; nothing of ours waits for it.
			if err := goleak.Find(before, goleak.IgnoreAnyFunction("net/http.(*conn).serve"),
				goleak.IgnoreAnyFunction("net/http.(*connReader).backgroundRead"),
				goleak.IgnoreAnyFunction("moltbot/workers/prompt.(*Builder).Warm")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestNoTracesWithoutAnEndpoint(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	at := collect(t)
	close(at.hold)
	a, lines, err := up(t, settings(t))
	must(t, err)
	if a.watch.tracing != nil || a.tracerProvider() != nil {
		t.Error("there is tracing")
	}
	r := run(t, a)
	await(t, "ready", r.Ready())
	token, err := a.Token("user", 1, "chat")
	must(t, err)
	status, _ := ask(t, a, token, map[string]any{"message": "hello"}, "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	equal(t, "status", status, http.StatusOK)
	r.stop(t)
	if strings.Contains(lines.String(), "trace_id") {
		t.Error("a trace is logged where there is none")
	}
}

func TestTheStandardVariableIsHonored(t *testing.T) {
	at := collect(t)
	close(at.hold)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", at.URL)
	c := settings(t)
	c.Trace.Sample = 0
	a, _, err := up(t, c)
	must(t, err)
	r := run(t, a)
	await(t, "ready", r.Ready())
	token, err := a.Token("user", 1, "chat")
	must(t, err)
	status, _ := ask(t, a, token, map[string]any{"message": "not sampled"})
	equal(t, "status", status, http.StatusOK)
	status, _ = ask(t, a, token, map[string]any{"message": "sampled by its parent"}, "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	equal(t, "status", status, http.StatusOK)
	r.stop(t)
	at.mu.Lock()
	defer at.mu.Unlock()
	if len(at.spans) != 8 {
		t.Errorf("%d spans, want those of one trace", len(at.spans))
	}
}
