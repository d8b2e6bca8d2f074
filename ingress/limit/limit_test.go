package limit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/ingress/limit"
)

var l0 contracts.Rate // the default of the limiter

// Once refused, a caller is refused here until the time that Redis named.
func TestShield(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb *redis.Client) {
		w := watched(t, rdb)
		l := newLimiter(t, limit.Options{Redis: rdb, Rate: rate(t, "0.01/2")})
		began := time.Now()
		allowed := 0
		for range 1002 {
			d := take(t, l, "ann", l0)
			if d.Allowed {
				allowed++
				continue
			}
			if left := 100*time.Second - time.Since(began); d.Retry > 100*time.Second || d.Retry < left-time.Second || d.Remaining != 0 {
				t.Fatalf("refused with %+v, %s are left", d, left)
			}
		}
		if allowed != 2 || w.trips.Load() != 2 {
			t.Errorf("%d allowed, %d round trips for 1000 refusals", allowed, w.trips.Load())
		}
		if s := l.Stats(); s.Allowed != 2 || s.Refused != 1000 || s.Shielded != 1000 || s.Calls != uint64(w.trips.Load()) || s.Fallback+s.Failures != 0 {
			t.Errorf("stats %+v, %d round trips", s, w.trips.Load())
		}
	})
}

// A crowd of one caller shares calls, and gets its burst.
func TestHerd(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb *redis.Client) {
		w := watched(t, rdb)
		l := newLimiter(t, limit.Options{Redis: rdb, Rate: rate(t, "0.01/20")})
		release := w.block()
		defer release()
		var allowed atomic.Int64
		var ready, wg sync.WaitGroup
		for range 1000 {
			ready.Add(1)
			wg.Go(func() {
				ready.Done()
				if take(t, l, "ann", l0).Allowed {
					allowed.Add(1)
				}
			})
		}
		ready.Wait()
		eventually(t, "the first call", func() bool { return w.trips.Load() == 1 })
		release()
		wg.Wait()
		if allowed.Load() != 20 || w.trips.Load() > 5 {
			t.Errorf("%d allowed in %d round trips", allowed.Load(), w.trips.Load())
		}
	})
}

// Many callers, several processes: each caller gets exactly its burst.
func TestConcurrentCallers(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb *redis.Client) {
		processes := []*limit.Limiter{newLimiter(t, limit.Options{Redis: rdb}), newLimiter(t, limit.Options{Redis: rdb})}
		r := rate(t, "0.01/30")
		var allowed [10]atomic.Int64
		var wg sync.WaitGroup
		for i := range 400 {
			wg.Go(func() {
				for range 5 {
					if take(t, processes[i%2], fmt.Sprint("caller", i%10), r).Allowed {
						allowed[i%10].Add(1)
					}
				}
			})
		}
		wg.Wait()
		for i := range allowed {
			// One process may hold a block of 3 at the end that it has no more requests for.
			if n := allowed[i].Load(); n > 30 || n < 27 {
				t.Errorf("caller %d: %d allowed", i, n)
			}
		}
	})
}

func TestWaitingObeysItsContext(t *testing.T) {
	s := startServer(t)
	rdb := s.client(t)
	w := watched(t, rdb)
	l := newLimiter(t, limit.Options{Redis: rdb, Rate: rate(t, "1/5")})
	release := w.block()
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { _, err := l.Take(ctx, "ann", l0); left <- err }()
	eventually(t, "the call", func() bool { return w.trips.Load() == 1 })
	cancel()
	select {
	case err := <-left:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error = %v", err)
		}
	case <-time.After(patient):
		t.Fatal("it waits on")
	}
	release()
	// Whoever comes next is not the worse for it.
	if d := take(t, l, "ann", l0); !d.Allowed {
		t.Errorf("the next one: %+v", d)
	}
}

// Nobody reads from Redis who the caller is, and nothing stays behind.
func TestKeys(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb *redis.Client) {
		l := newLimiter(t, limit.Options{Redis: rdb, Rate: rate(t, "10/20")})
		take(t, l, "canary", l0)
		key := onlyKey(t, rdb)
		if strings.Contains(key, "canary") || !strings.HasPrefix(key, "limit:{") {
			t.Errorf("key %q", key)
		}
		ttl := rdb.PTTL(t.Context(), key).Val()
		if ttl <= 0 || ttl > 101*time.Millisecond {
			t.Errorf("it lives for %s, after 100 ms it says nothing", ttl)
		}
	})
	rdb := startServer(t).client(t)
	take(t, newLimiter(t, limit.Options{Redis: rdb, Rate: rate(t, "10/20")}), "ann", l0)
	eventually(t, "the key expires", func() bool { return rdb.DBSize(context.Background()).Val() == 0 })
}

func onlyKey(t *testing.T, rdb *redis.Client) string {
	t.Helper()
	keys := rdb.Keys(t.Context(), "*").Val()
	if len(keys) != 1 {
		t.Fatalf("keys %q", keys)
	}
	return keys[0]
}

// Whatever lies under the key, the caller is served again at the latest when its
// whole burst has been earned, and never gets more than that.
func TestHostileValues(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb *redis.Client) {
		take(t, newLimiter(t, limit.Options{Redis: rdb, Rate: rate(t, "0.1/4")}), "ann", l0)
		key := onlyKey(t, rdb)
		for value, want := range map[string]int{
			"": 4, "abc": 4, "nan": 4, "-inf": 4, "-1e308": 4, "0": 4, "1e5 x": 4, "\x00": 4, "99999999999999999": 0,
		} {
			must(t, rdb.Set(t.Context(), key, value, 0).Err())
			l := newLimiter(t, limit.Options{Redis: rdb, Rate: rate(t, "0.1/4")})
			got := 0
			for range 8 {
				d := take(t, l, "ann", l0)
				if d.Allowed {
					got++
				} else if d.Retry > 10*time.Second || d.Reset > 41*time.Second {
					t.Errorf("%q: %+v", value, d)
				}
			}
			if got != want {
				t.Errorf("%q: %d allowed, want %d", value, got, want)
			}
			if s := l.Stats(); s.Failures > 0 {
				t.Errorf("%q breaks the script", value)
			}
		}
		for _, value := range []string{"inf", "9e99", "0x7fffffffffffffff"} { // a number in one Lua, none in the other
			must(t, rdb.Set(t.Context(), key, value, 0).Err())
			l := newLimiter(t, limit.Options{Redis: rdb, Rate: rate(t, "0.1/4")})
			if d := take(t, l, "ann", l0); d.Retry > 10*time.Second || d.Reset > 41*time.Second || l.Stats().Failures > 0 {
				t.Errorf("%q: %+v", value, d)
			}
		}
		must(t, rdb.Del(t.Context(), key).Err())
		must(t, rdb.RPush(t.Context(), key, "a").Err())
		l := newLimiter(t, limit.Options{Redis: rdb, Rate: rate(t, "0.1/4")})
		if d := take(t, l, "ann", l0); !d.Allowed || l.Stats().Failures > 0 || rdb.PTTL(t.Context(), key).Val() <= 0 {
			t.Errorf("a list: %+v, %+v", d, l.Stats())
		}
	})
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]limit.Options{
		"no namer": {Redis: client(t, &redis.Options{})}, "rate": {Rate: contracts.Rate{PerSecond: 1}},
	} {
		if _, err := limit.New(o); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	l := newLimiter(t, limit.Options{})
	if d := take(t, l, "ann", l0); d != (limit.Decision{Allowed: true}) || l.Stats() != (limit.Stats{}) {
		t.Errorf("without a rate: %+v, %+v", d, l.Stats())
	}
	if _, err := l.Take(t.Context(), "ann", contracts.Rate{PerSecond: -1, Burst: 1}); err == nil {
		t.Error("a rate out of bounds is taken")
	}
}
