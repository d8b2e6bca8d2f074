package limit_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"moltbot/ingress/limit"
)

// Two processes that are both asked for far more than the rate let through the
// burst and the rate, never more, and within 2 % not less.
func TestTwoProcessesShareOneRate(t *testing.T) {
	for text, seconds := range map[string]int{"10/20": 60, "0.5/3": 120, "3/1": 60, "500/1000": 60, "7000/700": 10, "10000/20000": 10} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			m := miniredis.RunT(t)
			c := newClock(m)
			r := rate(t, text)
			var processes []*limit.Limiter
			for range 2 {
				processes = append(processes, newLimiter(t, limit.Options{Redis: client(t, &redis.Options{Addr: m.Addr()}), Now: c.now}))
			}
			demand := int(3*r.PerSecond/1000) + 1 // for each process and millisecond
			allowed, asked := 0, 0
			for range seconds * 1000 {
				for _, l := range processes {
					for range demand {
						asked++
						if take(t, l, "ann", r).Allowed {
							allowed++
						}
					}
				}
				c.move(time.Millisecond)
			}
			most := float64(r.Burst) + r.PerSecond*float64(seconds)
			calls := processes[0].Stats().Calls + processes[1].Stats().Calls
			t.Logf("%d of %d allowed, at most %.0f are right; %d round trips", allowed, asked, most, calls)
			if got := float64(allowed); got > most || got < 0.98*most-1 {
				t.Errorf("%d allowed, want %.0f, 2 %% less at most", allowed, most)
			}
		})
	}
}

// The same against a real server, whose clock nobody sets: what is right follows
// from the time that was measured.
func TestTwoProcessesOnARealServer(t *testing.T) {
	s := startServer(t)
	r := rate(t, "200/50")
	var allowed atomic.Int64
	var wg sync.WaitGroup
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
	defer stop()
	began := time.Now()
	for range 2 {
		l := newLimiter(t, limit.Options{Redis: s.client(t)})
		for range 2 {
			wg.Go(func() {
				tick := time.NewTicker(time.Millisecond) // 4000 requests a second in all
				defer tick.Stop()
				for ctx.Err() == nil {
					if d, err := l.Take(context.Background(), "ann", r); err != nil {
						t.Error(err)
					} else if d.Allowed {
						allowed.Add(1)
					}
					<-tick.C
				}
			})
		}
	}
	wg.Wait()
	right := float64(r.Burst) + r.PerSecond*time.Since(began).Seconds()
	t.Logf("%d allowed, %.0f are right", allowed.Load(), right)
	if got := float64(allowed.Load()); got > right+1 || got < 0.98*right-2 {
		t.Errorf("%.0f allowed, want %.0f", got, right)
	}
}

// Burst, what is told of it, and refill to the microsecond.
func TestBurstAndRefill(t *testing.T) {
	m := miniredis.RunT(t)
	c := newClock(m)
	l := newLimiter(t, limit.Options{Redis: client(t, &redis.Options{Addr: m.Addr()}), Now: c.now, Rate: rate(t, "10/20")})
	for i := range 20 {
		d := take(t, l, "ann", l0)
		want := limit.Decision{Allowed: true, Limited: true, Limit: 20, Remaining: 19 - i, Reset: time.Duration(i+1) * 100 * time.Millisecond}
		if d != want {
			t.Fatalf("request %d: %+v, want %+v", i, d, want)
		}
	}
	refused := limit.Decision{Limited: true, Limit: 20, Reset: 2 * time.Second, Retry: 100 * time.Millisecond}
	if d := take(t, l, "ann", l0); d != refused {
		t.Fatalf("the 21st: %+v, want %+v", d, refused)
	}
	c.move(100*time.Millisecond - time.Microsecond)
	if d := take(t, l, "ann", l0); d.Allowed || d.Retry != time.Microsecond {
		t.Errorf("a microsecond early: %+v", d)
	}
	c.move(time.Microsecond)
	if d := take(t, l, "ann", l0); !d.Allowed || d.Remaining != 0 {
		t.Errorf("in time: %+v", d)
	}
	if d := take(t, l, "ann", l0); d.Allowed {
		t.Errorf("one more: %+v", d)
	}
	if d := take(t, l, "bob", l0); !d.Allowed || d.Remaining != 19 {
		t.Errorf("another caller: %+v", d)
	}
	if d := take(t, l, "ann", rate(t, "5/2")); !d.Allowed || d.Limit != 2 || d.Remaining != 1 {
		t.Errorf("with a rate of the token: %+v", d)
	}
	if d := take(t, l, "ann", rate(t, "off")); d != (limit.Decision{Allowed: true}) {
		t.Errorf("without a limit: %+v", d)
	}
	c.move(time.Hour)
	if d := take(t, l, "ann", l0); !d.Allowed || d.Remaining != 19 {
		t.Errorf("after an hour: %+v", d)
	}
}

// At 10 000 requests a second the shared bucket is asked about fifty times.
func TestFastCallersPayFewRoundTrips(t *testing.T) {
	m := miniredis.RunT(t)
	c := newClock(m)
	rdb := client(t, &redis.Options{Addr: m.Addr()})
	w := watched(t, rdb)
	l := newLimiter(t, limit.Options{Redis: rdb, Now: c.now})
	r := rate(t, "20000/40000")
	const seconds = 2
	for range seconds * 10_000 {
		if d := take(t, l, "ann", r); !d.Allowed {
			t.Fatalf("half of the rate is refused: %+v", d)
		}
		c.move(100 * time.Microsecond)
	}
	trips := w.trips.Load()
	t.Logf("%d round trips for %d requests", trips, seconds*10_000)
	if trips > seconds*60 {
		t.Errorf("%d round trips for %d requests", trips, seconds*10_000)
	}
}

// A caller that is spread thinly over many processes gets its rate all the same:
// blocks shrink before they expire unspent.
func TestThinlySpreadCallerLosesNothing(t *testing.T) {
	m := miniredis.RunT(t)
	c := newClock(m)
	r := rate(t, "500/100")
	var processes []*limit.Limiter
	for range 10 {
		processes = append(processes, newLimiter(t, limit.Options{Redis: client(t, &redis.Options{Addr: m.Addr()}), Now: c.now}))
	}
	refused := 0
	for i := range 20 * 480 { // 480 a second for 20 s, in turn
		if !take(t, processes[i%10], "ann", r).Allowed {
			refused++
		}
		c.move(time.Second / 480)
	}
	if refused > 0 {
		t.Errorf("%d refused of a caller who stayed below his rate", refused)
	}
}

// Blocks that are not spent expire: a process cannot save up a burst.
func TestBlocksExpire(t *testing.T) {
	m := miniredis.RunT(t)
	c := newClock(m)
	l := newLimiter(t, limit.Options{Redis: client(t, &redis.Options{Addr: m.Addr()}), Now: c.now})
	r := rate(t, "500/1000")
	for range 200 { // as fast as it can, so that its blocks are of full size
		take(t, l, "ann", r)
	}
	calls := l.Stats().Calls
	take(t, l, "ann", r)
	take(t, l, "ann", r)
	if l.Stats().Calls > calls+1 {
		t.Fatal("no block is held")
	}
	calls = l.Stats().Calls
	c.move(101 * time.Millisecond)
	take(t, l, "ann", r)
	if l.Stats().Calls != calls+1 {
		t.Error("a block of 101 ms ago was spent")
	}
}
