package limit_test

import (
	"fmt"
	"testing"
	"time"

	"moltbot/ingress/limit"
)

const (
	lost = "rate limits are not shared"
	back = "rate limits are shared again"
)

// A Redis that hangs costs one request its time-out and the others nothing; a
// trial after each pause finds it back.
func TestSlowRedis(t *testing.T) {
	rdb := startServer(t).client(t)
	w := watched(t, rdb)
	c := newClock(nil)
	out := &logs{}
	l := newLimiter(t, limit.Options{Redis: rdb, Rate: rate(t, "0.01/5"), Timeout: 100 * time.Millisecond, Pause: time.Second, Now: c.now, Log: out.log()})
	release := w.block()
	defer release()
	for i := range 5 {
		if d := take(t, l, "ann", l0); !d.Allowed || d.Remaining != 4-i {
			t.Fatalf("request %d: %+v", i, d)
		}
	}
	if d := take(t, l, "ann", l0); d.Allowed || d.Retry <= 0 {
		t.Errorf("this process has no limit of its own: %+v", d)
	}
	for i := range 100 {
		take(t, l, fmt.Sprint("other", i), l0)
	}
	if w.trips.Load() != 1 {
		t.Errorf("%d calls to a Redis that hangs", w.trips.Load())
	}
	c.move(time.Second)
	take(t, l, "bob", l0)
	take(t, l, "bob", l0)
	if w.trips.Load() != 2 {
		t.Errorf("%d calls, want one more after the pause", w.trips.Load())
	}
	if s := l.Stats(); s.Failures != 2 || s.Fallback != 5+1+100+2 || s.Calls != 2 {
		t.Errorf("stats %+v", s)
	}
	release() // what comes late is not believed: it is not logged either
	c.move(time.Second)
	for range 10 {
		take(t, l, "carol", l0)
	}
	if s := l.Stats(); s.Fallback != 108 || s.Failures != 2 {
		t.Errorf("Redis is back, but %+v", s)
	}
	if out.count(lost) != 1 || out.count(back) != 1 {
		t.Errorf("%d lines say lost, %d back", out.count(lost), out.count(back))
	}
}

func TestRedisDownAndBack(t *testing.T) {
	s := startServer(t)
	c := newClock(nil)
	out := &logs{}
	l := newLimiter(t, limit.Options{Redis: s.client(t), Rate: rate(t, "0.01/5"), Pause: time.Second, Now: c.now, Log: out.log()})
	take(t, l, "ann", l0)
	take(t, l, "ann", l0)
	s.kill()
	allowed := 0
	for range 20 {
		if take(t, l, "ann", l0).Allowed {
			allowed++
		}
	}
	if allowed != 3 {
		t.Errorf("%d allowed alone, want the 3 that were left", allowed)
	}
	s.start(t)
	take(t, l, "bob", l0) // within the pause
	if out.count(back) != 0 {
		t.Error("asked within the pause")
	}
	c.move(time.Second)
	eventually(t, "back", func() bool {
		take(t, l, fmt.Sprint("x", c.now().UnixNano()), l0)
		c.move(time.Second) // a connection that died may fail once more
		return out.count(back) == 1
	})
	if out.count(lost) != 1 {
		t.Errorf("%d lines say lost", out.count(lost))
	}
}

// Without a Redis the process counts by itself, and that is no failure.
func TestAlone(t *testing.T) {
	c := newClock(nil)
	l := newLimiter(t, limit.Options{Rate: rate(t, "10/20"), Now: c.now})
	allowed := 0
	for range 60_000 {
		if take(t, l, "ann", l0).Allowed {
			allowed++
		}
		c.move(time.Millisecond)
	}
	if allowed < 618 || allowed > 620 {
		t.Errorf("%d allowed in a minute, want 620", allowed)
	}
	if s := l.Stats(); s.Fallback+s.Calls+s.Failures != 0 || s.Allowed != uint64(allowed) {
		t.Errorf("stats %+v", s)
	}
}

// Callers that owe nothing cost no lasting memory.
func TestCallersAreForgotten(t *testing.T) {
	c := newClock(nil)
	l := newLimiter(t, limit.Options{Rate: rate(t, "10/20"), Now: c.now})
	for i := range 1000 {
		take(t, l, fmt.Sprint(i), l0)
	}
	if n := limit.Known(l); n != 1000 {
		t.Fatalf("%d callers", n)
	}
	c.move(time.Minute)
	take(t, l, "ann", l0)
	if n := limit.Known(l); n != 1 {
		t.Errorf("%d callers are kept", n)
	}
}
