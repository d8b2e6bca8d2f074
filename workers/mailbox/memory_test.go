package mailbox_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

// rememberer is a run that keeps in memory what it saw, and notes where each
// context came from.
type rememberer struct{ saw []string }

func (r *rememberer) run(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
	var turns []string
	from := "redis"
	if task.Memory != nil {
		from, turns = "memory", task.Memory.([]string)
	} else {
		for _, b := range task.Context {
			turns = append(turns, string(b))
		}
	}
	r.saw = append(r.saw, fmt.Sprintf("%s:%s", from, strings.Join(turns, ",")))
	name := fmt.Sprint(task.Sequence)
	return mailbox.Outcome{
		Turn: []byte(name), Result: []byte("r"), Memory: append(slices.Clone(turns), name), MemorySize: len(name),
	}, nil
}

// What a worker remembers of a context is used as long as it is the context, and
// no longer: another worker, a reset, an expiry and a loss of data all show.
func TestMemoryOfContexts(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		r := &rememberer{}
		a, b := s.box(r.run), s.box(r.run)
		n := 0
		turn := func(m *mailbox.Mailbox, want string) {
			t.Helper()
			n++
			s.publish(c, n)
			if h, err := m.Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledDone {
				t.Fatalf("message %d ends as %s, %v", n, h, err)
			}
			if got := r.saw[len(r.saw)-1]; got != want {
				t.Errorf("message %d saw %s, want %s", n, got, want)
			}
		}
		turn(a, "redis:")
		turn(a, "memory:1")
		turn(b, "redis:1,2") // another worker
		turn(a, "redis:1,2,3")
		turn(a, "memory:1,2,3,4")

		must(t, rdb.Del(t.Context(), contracts.KeySession(c)).Err()) // expired
		turn(a, "redis:")
		turn(a, "memory:6")
		turn(b, "redis:6,7")

		before := rdb.LRange(t.Context(), contracts.KeySession(c), 0, -1).Val()
		box := rdb.HGetAll(t.Context(), contracts.KeyBox(c)).Val()
		turn(b, "memory:6,7,8")
		// Redis comes back as it was before the last message, and the same number
		// of turns is written again by somebody else.
		must(t, rdb.Del(t.Context(), contracts.KeySession(c)).Err())
		must(t, rdb.RPush(t.Context(), contracts.KeySession(c), before).Err())
		must(t, rdb.HSet(t.Context(), contracts.KeyBox(c), box).Err())
		turn(a, "redis:6,7,8")
		turn(b, "redis:6,7,8,10")

		// With all data gone the finished messages are looked at again, from the first.
		must(t, rdb.FlushAll(t.Context()).Err())
		runs := len(r.saw)
		s.publish(c, n+1)
		_, err := b.Handle(t.Context(), t.Context(), s.next())
		must(t, err)
		if r.saw[runs] != "redis:" {
			t.Errorf("after the loss it saw %s", r.saw[runs])
		}
	})
}

// A head that the holder comes to by itself finds the turn it has just committed.
func TestMemoryOfADrainedConversation(t *testing.T) {
	s := newStage(t, workerstest.MiniRedis(t), workerstest.Queue{})
	c := s.conversation("c")
	r := &rememberer{}
	m := s.box(r.run)
	for n := 1; n <= 3; n++ {
		s.publish(c, n)
	}
	s.next() // the first is delivered to somebody who does nothing
	s.next()
	if h, err := m.Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledDone {
		t.Fatalf("ends as %s, %v", h, err)
	}
	want := []string{"redis:", "memory:1", "memory:1,2"}
	if !slices.Equal(r.saw, want) {
		t.Errorf("saw %v, want %v", r.saw, want)
	}
}

// A turn that a reset kept out of the context is not remembered either.
func TestMemoryAfterAReset(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		r := &rememberer{}
		reset := false
		m := s.box(func(ctx context.Context, task mailbox.Task) (mailbox.Outcome, error) {
			if reset {
				must(t, rdb.Del(ctx, contracts.KeySession(c)).Err())
				must(t, rdb.HIncrBy(ctx, contracts.KeyBox(c), "epoch", 1).Err())
				reset = false
			}
			return r.run(ctx, task)
		})
		for n := 1; n <= 4; n++ {
			reset = n == 2
			s.publish(c, n)
			_, err := m.Handle(t.Context(), t.Context(), s.next())
			must(t, err)
		}
		want := []string{"redis:", "memory:1", "redis:", "memory:3"}
		if !slices.Equal(r.saw, want) {
			t.Errorf("saw %v, want %v", r.saw, want)
		}
	})
}

// When turns became a summary, nobody goes on with what was remembered of before,
// and least of all a message that ran meanwhile.
func TestMemoryAfterAFold(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		r := &rememberer{}
		fold := func() {
			must(t, rdb.LTrim(t.Context(), contracts.KeySession(c), 1, -1).Err())
			must(t, rdb.HSet(t.Context(), contracts.KeyBox(c), "version", "folded").Err())
		}
		during := false
		m := s.box(func(ctx context.Context, task mailbox.Task) (mailbox.Outcome, error) {
			if during {
				fold()
				during = false
			}
			return r.run(ctx, task)
		})
		for n := 1; n <= 7; n++ {
			during = n == 2
			if n == 5 {
				fold()
			}
			s.publish(c, n)
			_, err := m.Handle(t.Context(), t.Context(), s.next())
			must(t, err)
		}
		want := []string{"redis:", "memory:1", "redis:2", "memory:2,3", "redis:3,4", "redis:3,4,5", "memory:3,4,5,6"}
		if !slices.Equal(r.saw, want) {
			t.Errorf("saw %v, want %v", r.saw, want)
		}
	})
}
