package observe

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/goleak"

	"moltbot/contracts"
	"moltbot/workers/workerstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestScrapesShareOneLook(t *testing.T) {
	now, looks := time.Unix(1, 0), 0
	var down error
	c := NewQueueCollector(func(context.Context) (QueueState, error) {
		looks++
		return QueueState{Pending: 2, InProgress: 3, Oldest: now.Add(-time.Minute)}, down
	}, func() time.Time { return now })
	for range 5 {
		must(t, testutil.CollectAndCompare(c, strings.NewReader(`
# HELP moltbot_queue_lag Unfinished messages: pending and in progress together. For autoscalers.
# TYPE moltbot_queue_lag gauge
moltbot_queue_lag 5
# HELP moltbot_queue_oldest_age_seconds Age of the oldest unfinished message; 0 when there is none.
# TYPE moltbot_queue_oldest_age_seconds gauge
moltbot_queue_oldest_age_seconds 60
`), "moltbot_queue_lag", "moltbot_queue_oldest_age_seconds"))
	}
	if looks != 1 {
		t.Errorf("%d looks", looks)
	}
	now, down = now.Add(queueFresh), errors.New("down")
	for range 3 {
		if n := testutil.CollectAndCount(c); n != 1 {
			t.Errorf("%d metrics of a queue that is down, want moltbot_queue_up alone", n)
		}
	}
	if looks != 2 {
		t.Errorf("%d looks: one that failed is shared as well", looks)
	}
}

func TestALookIsBounded(t *testing.T) {
	c := NewQueueCollector(func(ctx context.Context) (QueueState, error) {
		<-ctx.Done()
		return QueueState{}, ctx.Err()
	}, time.Now)
	if n := testutil.CollectAndCount(c); n != 1 {
		t.Errorf("%d metrics", n)
	}
}

func TestMetricsServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	state := contracts.Ready{Status: contracts.StatusNotReady}
	s := NewMetricsServer(MetricsOptions{
		Listener: l, Gather: NewRegistry("v1"), Log: zerolog.Nop(), Ready: func(context.Context) contracts.Ready { return state },
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	for path, want := range map[string]int{
		"GET /metrics": 200, "GET /livez": 200, "GET /readyz": 503, "GET /": 404, "POST /metrics": 405, "GET /debug/pprof/": 404,
	} {
		method, path, _ := strings.Cut(path, " ")
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+l.Addr().String()+path, nil)
		must(t, err)
		req.Close = true
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s %s: %d, want %d", method, path, res.StatusCode, want)
		}
	}
	stop()
	must(t, <-ended)
}

func TestRedisHook(t *testing.T) {
	m := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: m.Addr(), MaxRetries: -1})
	defer func() { _ = rdb.Close() }()
	script := redis.NewScript("return redis.call('SET', KEYS[1], '1')")
	reg := prometheus.NewRegistry()
	hook := NewRedisHook(reg, map[string]string{script.Hash(): "begin"})
	rdb.AddHook(hook)
	ctx := t.Context()
	for range 3 {
		must(t, script.Run(ctx, rdb, []string{"secret-key"}).Err()) // the first one is not known to Redis
	}
	if err := rdb.Get(ctx, "none").Err(); !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	must(t, rdb.Incr(ctx, "counter").Err())
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error { p.Get(ctx, "counter"); return nil })
	must(t, err)
	m.SetError("broken")
	if rdb.Get(ctx, "none").Err() == nil {
		t.Fatal("no error")
	}
	got := series(t, reg)
	for name, want := range map[string]float64{
		tookSeconds + "begin": 3, tookSeconds + "eval": 1, tookSeconds + "get": 3,
		failedTotal + "begin": 0, failedTotal + "get": 1, failedTotal + "eval": 0,
	} {
		if got[name] != want {
			t.Errorf("%s = %v, want %v", name, got[name], want)
		}
	}
	cmd := redis.NewCmd(ctx, "evalsha", script.Hash(), 0)
	if n := testing.AllocsPerRun(100, func() { hook.of(cmd).note(time.Millisecond, nil) }); n > 0 {
		t.Errorf("%v allocations for a command", n)
	}
}

// What a pipeline carries is counted by name, its failures too.
func TestRedisHookSeesIntoPipelines(t *testing.T) {
	m := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: m.Addr(), MaxRetries: -1, PipelinePoolSize: -1})
	defer func() { _ = rdb.Close() }()
	script := redis.NewScript("return redis.call('INCR', KEYS[1])")
	reg := prometheus.NewRegistry()
	hook := NewRedisHook(reg, map[string]string{script.Hash(): "begin"})
	rdb.AddHook(hook)
	pipe, err := rdb.AutoPipeline()
	must(t, err)
	defer func() { _ = pipe.Close() }()
	must(t, m.Set("text", "no number"))
	must(t, script.Run(t.Context(), pipe, []string{"warm"}).Err()) // the script is not known before
	var all sync.WaitGroup
	const each = 50
	for range each {
		all.Go(func() {
			if err := script.Run(t.Context(), pipe, []string{"counter"}).Err(); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			if script.Run(t.Context(), pipe, []string{"text"}).Err() == nil {
				t.Error("a text was counted up")
			}
		})
		all.Go(func() {
			if err := pipe.Get(t.Context(), "none").Err(); !errors.Is(err, redis.Nil) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	got := series(t, reg)
	for name, want := range map[string]float64{
		tookSeconds + "begin": 2*each + 1, tookSeconds + "get": each, failedTotal + "begin": each, failedTotal + "get": 0,
	} {
		if got[name] != want {
			t.Errorf("%s = %v, want %v", name, got[name], want)
		}
	}
}

const tookSeconds, failedTotal = "moltbot_redis_command_duration_seconds ", "moltbot_redis_errors_total "

// series gives counts by name and command.
func series(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	must(t, err)
	got := map[string]float64{}
	for _, f := range families {
		for _, x := range f.GetMetric() {
			name := f.GetName() + " " + x.GetLabel()[0].GetValue()
			got[name] = float64(x.GetHistogram().GetSampleCount()) + x.GetCounter().GetValue()
		}
	}
	return got
}

func TestRedisUp(t *testing.T) {
	m := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: m.Addr(), MaxRetries: -1})
	defer func() { _ = rdb.Close() }()
	r := NewRoundTrips(prometheus.NewRegistry(), rdb)
	for _, want := range []float64{1, 0} {
		r.sample(t.Context())
		if got := testutil.ToFloat64(r.redisUp); got != want {
			t.Errorf("up = %v, want %v", got, want)
		}
		if got := testutil.ToFloat64(r.writes); got != want {
			t.Errorf("writable = %v, want %v", got, want)
		}
		m.Close()
	}
}

// One that is out of memory answers, and takes no writes.
func TestRedisTakesNoWrites(t *testing.T) {
	rdb := workerstest.StartRedis(t).Client(t)
	r := NewRoundTrips(prometheus.NewRegistry(), rdb)
	must(t, rdb.ConfigSet(t.Context(), "maxmemory", "1").Err())
	r.sample(t.Context())
	if up, writes := testutil.ToFloat64(r.redisUp), testutil.ToFloat64(r.writes); up != 1 || writes != 0 {
		t.Errorf("up = %v, writable = %v", up, writes)
	}
}

func BenchmarkRedisHook(b *testing.B) {
	hook := NewRedisHook(prometheus.NewRegistry(), map[string]string{"hash": "begin"})
	cmd := redis.NewCmd(b.Context(), "evalsha", "hash", 0)
	b.ReportAllocs()
	for b.Loop() {
		hook.of(cmd).note(time.Millisecond, nil)
	}
}

// A collector's failures are told once a minute, without what they quote.
func TestTheExporterTellsSeldom(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	e := &exporter{log: zerolog.New(&out), now: func() time.Time { return now }}
	for range 5 {
		e.tell(7)
	}
	now = now.Add(tellAgain)
	e.tell(7)
	if n := strings.Count(out.String(), "not taken"); n != 2 {
		t.Errorf("told %d times:\n%s", n, out.String())
	}
}

func TestTraceEndpoint(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://env:4318")
	if got := TraceEndpoint("http://own:4318"); got != "http://own:4318" {
		t.Error(got)
	}
	if got := TraceEndpoint(""); got != "http://env:4318" {
		t.Error(got)
	}
	const secret = "c4narY"
	for _, bad := range []string{"collector:4318", "ftp://user:" + secret + "@h", "http://user:" + secret + "@h:port", "http://"} {
		_, err := NewTracing(t.Context(), TraceOptions{Endpoint: bad})
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

var _ sdktrace.SpanExporter = (*exporter)(nil)
