package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo sends its number and wants it back.
type echo struct{}

func (echo) Init(r *fasthttp.Request) {
	r.Header.SetMethod(fasthttp.MethodPost)
	r.Header.SetRequestURI("/echo")
}

func (echo) Prepare(r *fasthttp.Request, n uint64) { r.SetBodyRaw(fmt.Append(nil, n)) }

func (echo) Judge(r *fasthttp.Response, n uint64) string {
	if string(r.Body()) != fmt.Sprint(n) {
		return "another number"
	}
	return ""
}

// serve runs a server that calls handle with the number of the request as it
// counts them, from 1, and echoes unless that says no.
func serve(t *testing.T, handle func(count uint64, w http.ResponseWriter, r *http.Request) (echo bool)) string {
	t.Helper()
	var count atomic.Uint64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/echo" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if handle == nil || handle(count.Add(1), w, r) {
			_, _ = w.Write(body)
		}
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func options(address string) Options {
	return Options{Addresses: []string{address}, Target: echo{}, Callers: 4, Duration: 300 * time.Millisecond}
}

func TestClosedCountsGoodAnswers(t *testing.T) {
	o := options(serve(t, nil))
	var edges []string
	o.Warmup, o.First, o.Live = 50*time.Millisecond, 1000, &Live{}
	o.Begin, o.End = func() { edges = append(edges, "begin") }, func() { edges = append(edges, "end") }
	r, err := Closed(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	answers := uint64(r.Latency.TotalCount())
	if answers == 0 || answers > r.Sent || r.Failed() != 0 || r.Next != 1000+r.Sent || r.Elapsed != o.Duration {
		t.Errorf("%d answers of %d requests, %d failed, next %d, in %s", answers, r.Sent, r.Failed(), r.Next, r.Elapsed)
	}
	if o.Live.Done.Load() != r.Sent || r.Peak < 1 || r.Peak > 4 {
		t.Errorf("live %d of %d, peak %d", o.Live.Done.Load(), r.Sent, r.Peak)
	}
	if fmt.Sprint(edges) != "[begin end]" {
		t.Errorf("edges: %v", edges)
	}
}

// The schedule alone decides when requests come and how many.
func TestScheduleKeepsTheRate(t *testing.T) {
	start := time.Now()
	next, again := schedule(start, 1000), schedule(start, 1000)
	last, n := start, 0
	for at := next(); at.Before(start.Add(10 * time.Second)); at = next() {
		if !at.Equal(again()) {
			t.Fatal("two runs have different schedules")
		}
		if at.Before(last) {
			t.Fatal("an arrival before the previous one")
		}
		last = at
		n++
	}
	if n < 9_700 || n > 10_300 {
		t.Errorf("%d arrivals in 10 s at 1000 per second", n)
	}
}

func TestOpenSendsWhatIsScheduled(t *testing.T) {
	o := options(serve(t, nil))
	o.Rate, o.Callers, o.Duration = 1000, 64, 400*time.Millisecond
	r, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	want, next := uint64(0), schedule(start, o.Rate)
	for next().Before(start.Add(o.Duration)) {
		want++
	}
	if r.Sent+r.Overflow != want || uint64(r.Latency.TotalCount()) != r.Sent || r.Failed() != r.Overflow {
		t.Errorf("%d sent and %d not, %d answers, %d scheduled", r.Sent, r.Overflow, r.Latency.TotalCount(), want)
	}
	if r.Lag.TotalCount() != int64(r.Sent) {
		t.Errorf("the lag of %d of %d is known", r.Lag.TotalCount(), r.Sent)
	}
}

// slow is a latency that only the stall explains.
const slow = 100_000 // microseconds

func slower(r Result) (share float64) {
	n := int64(0)
	for _, b := range r.Latency.Distribution() {
		if b.From >= slow {
			n += b.Count
		}
	}
	return float64(n) / float64(r.Latency.TotalCount())
}

// A server stands still for half of the time. Callers that wait politely meet
// that once each; whoever comes by a schedule meets it as often as real users.
func TestOpenLoopShowsAStall(t *testing.T) {
	address := func() string {
		var once sync.Once
		var over time.Time
		return serve(t, func(count uint64, _ http.ResponseWriter, r *http.Request) bool {
			if count < 20 {
				return true
			}
			once.Do(func() { over = time.Now().Add(500 * time.Millisecond) })
			until(r.Context(), over)
			return true
		})
	}
	o := options(address())
	o.Duration, o.Rate, o.Callers = time.Second, 400, 1000
	open, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	o = options(address())
	o.Duration = time.Second
	closed, err := Closed(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if share := slower(open); share < 0.2 || open.Latency.ValueAtQuantile(99) < slow {
		t.Errorf("open loop: %.3f slow, P99 %d µs; the stall is hidden", share, open.Latency.ValueAtQuantile(99))
	}
	if share := slower(closed); share > 0.1 {
		t.Errorf("closed loop: %.3f slow; the comparison shows nothing", share)
	}
}

// With one connection and a server that is slow, latency is what the schedule
// says and not what the connection says.
func TestLatencyCountsFromTheSchedule(t *testing.T) {
	release := make(chan struct{})
	address := serve(t, func(uint64, http.ResponseWriter, *http.Request) bool { <-release; return true })
	o := options(address)
	o.Rate, o.Callers, o.Count, o.Duration = 1000, 200, 100, 0
	o.Live = &Live{}
	go func() {
		until(t.Context(), time.Now().Add(300*time.Millisecond))
		close(release)
	}()
	r, err := Open(t.Context(), o)
	if err != nil || r.Sent != 100 || r.Failed() != 0 {
		t.Fatalf("%d sent, %v, %v", r.Sent, r.Faults, err)
	}
	// 100 arrivals take about 100 ms of the 300: all of them waited.
	if r.Latency.Min() < slow || r.Peak != 100 {
		t.Errorf("least latency %d µs, %d in flight", r.Latency.Min(), r.Peak)
	}
}

// A request that the bench itself sent late was late for its user too.
func TestLagIsPartOfTheLatency(t *testing.T) {
	o, err := options(serve(t, nil)).withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	r := newRun(o)
	r.start()
	c := newCaller(r, 0)
	defer c.close()
	r.began = r.began.Add(-time.Minute)
	(&crew{r: r}).handle(t.Context(), c, arrival{7, time.Now().Add(-10 * time.Second)})
	if res := r.result(time.Second); res.Latency.Min() < 9_990_000 || res.Lag.Min() < 9_990_000 || res.Failed() != 0 {
		t.Errorf("latency %d µs, lag %d µs, %v", res.Latency.Min(), res.Lag.Min(), res.Faults)
	}
}

func TestOverflowIsCounted(t *testing.T) {
	release := make(chan struct{})
	o := options(serve(t, func(uint64, http.ResponseWriter, *http.Request) bool { <-release; return true }))
	o.Rate, o.Callers, o.Count, o.Duration = 2000, 3, 50, 0
	o.Live = &Live{}
	go func() {
		for o.Live.Failed.Load() < 47 && until(t.Context(), time.Now().Add(time.Millisecond)) {
		}
		close(release)
	}()
	r, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Overflow != 47 || r.Sent != 3 || r.Failed() != 47 || r.Peak != 3 {
		t.Errorf("overflow %d, sent %d, failed %d, peak %d", r.Overflow, r.Sent, r.Failed(), r.Peak)
	}
}

func TestFaultsAreCountedByKind(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	for name, c := range map[string]struct {
		address string
		fault   string
	}{
		"status": {serve(t, func(_ uint64, w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}), "status 503"},
		"wrong": {serve(t, func(_ uint64, w http.ResponseWriter, _ *http.Request) bool {
			_, _ = w.Write([]byte("7"))
			return true
		}), "another number"},
		"broken":  {serve(t, func(uint64, http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }), faultBroken},
		"timeout": {serve(t, func(_ uint64, _ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return false }), faultTimeout},
		"refused": {strings.TrimPrefix(gone.URL, "http://"), faultConnect},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(c.address)
			o.Timeout = 100 * time.Millisecond
			for loop, put := range map[string]func(context.Context, Options) (Result, error){"closed": Closed, "open": Open} {
				o.Rate = 100
				r, err := put(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				if r.Faults[c.fault] == 0 || len(r.Faults) != 1 || r.Latency.TotalCount() != 0 {
					t.Errorf("%s loop: %v, %d good, want only %q", loop, r.Faults, r.Latency.TotalCount(), c.fault)
				}
			}
		})
	}
}

// A server that ends every connection costs a new one each time, and no answer.
func TestClosedConnectionsAreReplaced(t *testing.T) {
	address := serve(t, func(_ uint64, w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Connection", "close")
		return true
	})
	r, err := Closed(t.Context(), options(address))
	if err != nil || r.Failed() != 0 || r.Latency.TotalCount() < 5 {
		t.Errorf("%d good, %v, %v", r.Latency.TotalCount(), r.Faults, err)
	}
}

func TestLoadEndsWithItsContext(t *testing.T) {
	stopped := errors.New("stopped")
	for loop, put := range map[string]func(context.Context, Options) (Result, error){"closed": Closed, "open": Open} {
		t.Run(loop, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			o := options(serve(t, func(count uint64, _ http.ResponseWriter, r *http.Request) bool {
				if count == 3 {
					cancel(stopped)
				}
				<-r.Context().Done() // never an answer
				return false
			}))
			o.Rate, o.Duration, o.Timeout = 100, time.Hour, time.Hour
			r, err := put(ctx, o)
			if !errors.Is(err, stopped) {
				t.Errorf("it ended with %v", err)
			}
			if len(r.Faults) != 0 {
				t.Errorf("requests that were cut count as faults: %v", r.Faults)
			}
		})
	}
}

func TestOptionsAreChecked(t *testing.T) {
	if _, err := Closed(t.Context(), Options{}); err == nil || !strings.Contains(err.Error(), "addresses") || !strings.Contains(err.Error(), "callers") {
		t.Errorf("error %v", err)
	}
	if _, err := Open(t.Context(), options("127.0.0.1:1")); err == nil || !strings.Contains(err.Error(), "rate") {
		t.Errorf("error %v", err)
	}
	o := options("127.0.0.1:1")
	o.Duration, o.Count = 0, 5
	if _, err := Closed(t.Context(), o); err == nil || !strings.Contains(err.Error(), "duration") {
		t.Errorf("error %v", err)
	}
}
