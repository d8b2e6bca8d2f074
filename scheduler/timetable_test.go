package scheduler

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
)

// hand is the clock of one replica, moved by hand.
type hand struct {
	mu    sync.Mutex
	now   time.Time
	until time.Time
	wake  chan time.Time // nil: nobody sleeps
}

func (h *hand) clock() Clock {
	return Clock{Now: func() time.Time {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.now
	}, After: func(d time.Duration) <-chan time.Time {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.until, h.wake = h.now.Add(d), make(chan time.Time, 1)
		return h.wake
	}}
}

// sleeps reports whether the replica waits for its clock.
func (h *hand) sleeps() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.wake != nil
}

// advance moves the clock of a replica that sleeps, and waits until it does again.
func (h *hand) advance(t *testing.T, d time.Duration) {
	t.Helper()
	eventually(t, "the replica waits for its clock", h.sleeps)
	h.mu.Lock()
	h.now = h.now.Add(d)
	if !h.until.After(h.now) {
		h.wake <- h.now
		h.wake = nil
	}
	h.mu.Unlock()
	eventually(t, "the replica waits for its clock", h.sleeps)
}

func at(t testing.TB, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, text)
	must(t, err)
	return v
}

// ticks counts runs by their due time.
type ticks struct {
	mu   sync.Mutex
	runs map[string]int
}

func (c *ticks) handler(_ context.Context, payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs[string(payload)]++
	return nil
}

func (c *ticks) count(due string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.runs[due]
}

func ticking(rdb redis.UniversalClient, c *ticks, clock Clock, spec string) Options {
	o := quick(rdb, map[contracts.TaskType]Handler{taskTick: c.handler})
	o.Clock = clock
	o.Timetable = []Entry{{Name: "tick", Spec: spec, Type: taskTick, Payload: func(due time.Time) ([]byte, error) {
		return []byte(due.UTC().Format(time.RFC3339)), nil
	}}}
	return o
}

// idle waits until every task that was asked for has been run.
func idle(t *testing.T, rdb redis.UniversalClient) {
	t.Helper()
	eventually(t, "nothing waits or runs", func() bool {
		i, err := asynq.NewInspectorFromRedisClient(rdb).GetQueueInfo(contracts.QueueNightly)
		return err == nil && i.Pending+i.Active+i.Retry == 0
	})
}

// Two replicas, one of which has a late clock and is started again in between,
// run what is due once for each due time.
func TestTwoSchedulersRunOnceForEachDueTime(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		c := &ticks{runs: make(map[string]int)}
		begin := at(t, "2026-11-20T02:56:30Z")
		first, late := &hand{now: begin}, &hand{now: begin.Add(-40 * time.Second)}
		start(t, ticking(rdb, c, first.clock(), "*/5 * * * *"))
		other := start(t, ticking(rdb, c, late.clock(), "*/5 * * * *"))
		const slots = 24
		for minute := range 5 * slots {
			first.advance(t, time.Minute)
			late.advance(t, time.Minute)
			if minute == 57 {
				other.stop()
				late = &hand{now: late.now.Add(10 * time.Minute)} // late no more
				start(t, ticking(rdb, c, late.clock(), "*/5 * * * *"))
			}
		}
		idle(t, rdb)
		due := at(t, "2026-11-20T02:55:00Z") // had been missed when they started
		for range slots {
			if n := c.count(due.Format(time.RFC3339)); n != 1 {
				t.Errorf("%s was run %d times", due, n)
			}
			due = due.Add(5 * time.Minute)
		}
		for name, n := range c.runs {
			if n != 1 {
				t.Errorf("%s was run %d times", name, n)
			}
		}
	})
}

// Of the due times that nobody was there for, the last one is made up for, if it
// is not too long ago.
func TestMissedDueTime(t *testing.T) {
	for name, c := range map[string]struct {
		now  string
		want []string
	}{
		"an hour late":   {"2026-11-20T04:00:00Z", []string{"2026-11-20T03:00:00Z"}},
		"at the time":    {"2026-11-20T03:00:00Z", []string{"2026-11-20T03:00:00Z"}},
		"a day too late": {"2026-11-20T15:00:01Z", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := miniRedis(t)
			ran := &ticks{runs: make(map[string]int)}
			h := &hand{now: at(t, c.now)}
			o := ticking(rdb, ran, h.clock(), "0 3 * * *")
			o.LookBack = 12 * time.Hour
			start(t, o)
			h.advance(t, 0)
			for _, due := range c.want {
				eventually(t, due+" is run", func() bool { return ran.count(due) == 1 })
			}
			if i := info(t, rdb, contracts.QueueNightly, "tick:2026-11-20T03:00:00Z"); (i != nil) != (len(c.want) > 0) {
				t.Errorf("task %v", i)
			}
		})
	}
}

// While the store is away, nothing that is due is forgotten.
func TestDueWhileTheStoreIsAway(t *testing.T) {
	t.Parallel()
	rdb := miniRedis(t)
	away := open(t, &redis.Options{Addr: "127.0.0.1:1"})
	ran := &ticks{runs: make(map[string]int)}
	h := &hand{now: at(t, "2026-11-20T02:59:00Z")}
	o := ticking(rdb, ran, h.clock(), "0 3 * * *")
	o.LookBack = time.Hour
	o.Client = NewClient(ClientOptions{Redis: away, Patience: 50 * time.Millisecond})
	s, err := New(o)
	must(t, err)
	now := func() time.Duration { return s.timetable.look(t.Context(), s.timetable.entries[0]) }
	if nap := now(); nap != time.Minute {
		t.Fatalf("nap of %s", nap)
	}
	h.now = at(t, "2026-11-20T03:00:00Z")
	if nap := now(); nap != askAgain {
		t.Fatalf("nap of %s", nap)
	}
	s.timetable.client = NewClient(ClientOptions{Redis: rdb})
	h.now = at(t, "2026-11-20T03:20:00Z")
	if nap := now(); nap != 23*time.Hour+40*time.Minute {
		t.Fatalf("nap of %s", nap)
	}
	if i := info(t, rdb, contracts.QueueNightly, "tick:2026-11-20T03:00:00Z"); i == nil || i.Retention != 48*time.Hour {
		t.Errorf("task %v", i)
	}
}

// One that was given up stays so: its due time is over.
func TestDueTimeThatWasGivenUp(t *testing.T) {
	t.Parallel()
	rdb := miniRedis(t)
	ran := &ticks{runs: make(map[string]int)}
	h := &hand{now: at(t, "2026-11-20T03:00:00Z")}
	o := ticking(rdb, ran, h.clock(), "0 3 * * *")
	for range 2 {
		s, err := New(o)
		must(t, err)
		if nap := s.timetable.look(t.Context(), s.timetable.entries[0]); nap != 24*time.Hour {
			t.Errorf("nap of %s", nap)
		}
		_ = asynq.NewInspectorFromRedisClient(rdb).ArchiveTask(contracts.QueueNightly, "tick:2026-11-20T03:00:00Z") // the second time it is
	}
	if i := info(t, rdb, contracts.QueueNightly, "tick:2026-11-20T03:00:00Z"); i.State != asynq.TaskStateArchived {
		t.Errorf("it is %s", i.State)
	}
}
