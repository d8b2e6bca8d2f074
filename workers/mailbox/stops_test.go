package mailbox_test

import (
	"context"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

// life is the stream's, as boxes have it.
func (s *stage) life() int64 { return s.view.Load().Created.UnixNano() }

// blocking is a run that goes on until its context ends, but for those that are let go.
func blocking(entered chan string, free func(mailbox.Task) bool) runFunc {
	return func(ctx context.Context, task mailbox.Task) (mailbox.Outcome, error) {
		if free(task) {
			return answer(task), nil
		}
		entered <- task.ID
		<-ctx.Done()
		return mailbox.Outcome{}, ctx.Err()
	}
}

// handle runs deliveries beside the test and gives the channel of their ends.
func (s *stage) handle(m *mailbox.Mailbox) chan mailbox.Handled {
	ended, d := make(chan mailbox.Handled, 1), s.next()
	go func() {
		h, _ := m.Handle(s.t.Context(), s.t.Context(), d)
		ended <- h
	}()
	return ended
}

// Stop ends what runs before the sequence that it names, in the life that it
// names, and nothing else.
func TestStopEndsTheRun(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		first, second := s.publish(c, 1), s.publish(c, 2)
		entered := make(chan string, 10)
		m := s.box(blocking(entered, func(task mailbox.Task) bool { return task.ID == second }))
		ended := s.handle(m)
		workerstest.Await(t, "the first runs", entered)
		m.Stop(c, 1, s.life())
		m.Stop(c, 9, s.life()+1)
		m.Stop(s.conversation("other"), 9, s.life())
		select {
		case h := <-ended:
			t.Fatalf("a stop that does not reach it ended it as %s", h)
		case <-time.After(50 * time.Millisecond):
		}
		m.Stop(c, 2, s.life())
		if h := workerstest.Await(t, "the end", ended); h != mailbox.HandledDone {
			t.Fatalf("ends as %s", h)
		}
		if got := s.ledger.repliesOf(first); !slices.Equal(got, []string{"failed stopped"}) {
			t.Errorf("the first was answered %v", got)
		}
		s.worker(nil)
		s.finish()
		if got := s.ledger.repliesOf(second); len(got) == 0 || got[0] != "answer "+second {
			t.Errorf("the second was answered %v", got)
		}
	})
}

// A stop that comes between the look into the store and the run is not missed.
func TestStopBeforeTheRun(t *testing.T) {
	s := newStage(t, workerstest.MiniRedis(t), workerstest.Queue{})
	c := s.conversation("c")
	id := s.publish(c, 1)
	var m *mailbox.Mailbox
	m = s.box(nil, func(o *mailbox.Options) {
		o.Crash = func(at string) {
			if at == "begun" {
				m.Stop(c, 2, s.life())
			}
		}
	})
	if h := workerstest.Await(t, "the end", s.handle(m)); h != mailbox.HandledDone {
		t.Fatalf("ends as %s", h)
	}
	if got := s.ledger.repliesOf(id); s.ledger.runsOf(id) != 0 || !slices.Equal(got, []string{"failed stopped"}) {
		t.Errorf("%d runs, answered %v", s.ledger.runsOf(id), got)
	}
}

// Word of a stop that got lost is found by the next renewal of the lease.
func TestBeatFindsTheStop(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		id := s.publish(c, 1)
		entered := make(chan string, 1)
		m := s.box(blocking(entered, func(mailbox.Task) bool { return false }), func(o *mailbox.Options) { o.Lease = 90 * time.Millisecond })
		ended := s.handle(m)
		workerstest.Await(t, "it runs", entered)
		must(t, rdb.HSet(t.Context(), contracts.KeyBox(c), "stop", "1").Err())
		if h := workerstest.Await(t, "the end", ended); h != mailbox.HandledDone {
			t.Fatalf("ends as %s", h)
		}
		if got := s.ledger.repliesOf(id); !slices.Equal(got, []string{"failed stopped"}) {
			t.Errorf("answered %v", got)
		}
	})
}

// What no stop reaches is run and committed although one came before and one meanwhile.
func TestUnstoppable(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		s.publish(c, 1)
		second := s.publish(c, 2)
		m := s.box(func(ctx context.Context, task mailbox.Task) (mailbox.Outcome, error) {
			o := answer(task)
			o.Unstopped = task.ID == second
			must(t, rdb.HSet(ctx, contracts.KeyBox(c), "stop", "2", "want", "2").Err())
			return o, nil
		}, func(o *mailbox.Options) {
			o.Unstoppable = func(letter any) bool { return letter.(contracts.Letter).ID == second }
		})
		if h := workerstest.Await(t, "the end", s.handle(m)); h != mailbox.HandledDone {
			t.Fatalf("ends as %s", h)
		}
		if got := s.turns(c); !slices.Equal(got, []string{second}) {
			t.Errorf("turns = %v", short(got))
		}
	})
}

// The record of the conversation is lost during the run, and what is made anew
// says that the message was stopped: that is its outcome, and it is committed.
func TestStopAfterTheBoxWasLost(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		id := s.publish(c, 1)
		m := s.box(func(ctx context.Context, task mailbox.Task) (mailbox.Outcome, error) {
			must(t, rdb.FlushAll(ctx).Err())
			must(t, rdb.HSet(ctx, contracts.KeyBox(c), "created", s.life(), "stop", "1").Err())
			return answer(task), nil
		})
		if h := workerstest.Await(t, "the end", s.handle(m)); h != mailbox.HandledDone {
			t.Fatalf("ends as %s", h)
		}
		if got := rdb.Get(t.Context(), contracts.KeyResult(c, id)).Val(); got != "failed stopped" {
			t.Errorf("the parked result is %q", got)
		}
		if n := rdb.Exists(t.Context(), contracts.KeyDone(c, id)).Val(); n != 1 || len(s.turns(c)) != 0 {
			t.Errorf("done %d, turns %v", n, s.turns(c))
		}
	})
}

// A delivery that finds the conversation in a back-off and ends it comes again at once.
func TestBusyDeliveryMayFreeTheConversation(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		first, second := s.publish(c, 1), s.publish(c, 2)
		away := &contracts.Error{Code: contracts.CodeModelFailed, Retryable: true}
		m := s.box(func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
			if task.ID == first {
				return mailbox.Outcome{}, away
			}
			return answer(task), nil
		}, func(o *mailbox.Options) {
			o.RetryBase, o.RetryMax, o.BusyDelay = time.Hour, time.Hour, time.Hour
			o.Busy = func(ctx context.Context, task mailbox.Task, life int64) bool {
				if task.ID != second || task.Sequence != 2 || life != s.life() {
					t.Errorf("%d of %d is busy", task.Sequence, life)
				}
				must(t, rdb.HSet(ctx, contracts.KeyBox(c), "stop", "1").Err())
				must(t, rdb.Del(ctx, contracts.KeyLease(c)).Err())
				return true
			}
		})
		for _, want := range []mailbox.Handled{mailbox.HandledHeld, mailbox.HandledBusy, mailbox.HandledDone} {
			if h := workerstest.Await(t, "the end", s.handle(m)); h != want {
				t.Fatalf("ends as %s, want %s", h, want)
			}
		}
		if got := s.ledger.repliesOf(first); !slices.Equal(got, []string{"failed stopped"}) {
			t.Errorf("the first was answered %v", got)
		}
		if got := s.ledger.repliesOf(second); !slices.Equal(got, []string{"answer " + second}) {
			t.Errorf("the second was answered %v", got)
		}
	})
}

// In Fail a message that was stopped too late shows what its run made, and the
// turn that Fail leaves is kept; notes of failed messages are, too.
func TestStoppedTurn(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		first, second := s.publish(c, 1), s.publish(c, 2)
		var notes []string
		m := s.box(nil, func(o *mailbox.Options) {
			o.Runner = &cutter{rdb: rdb, actor: o.Runner.(*actor), notes: &notes}
		})
		for range 2 {
			if h := workerstest.Await(t, "the end", s.handle(m)); h != mailbox.HandledDone {
				t.Fatalf("ends as %s", h)
			}
		}
		if got := s.turns(c); !slices.Equal(got, []string{"cut " + first, second}) {
			t.Errorf("turns %q", got)
		}
		if !slices.Equal(notes, []string{"", "cut"}) {
			t.Errorf("notes %q", notes)
		}
	})
}

type cutter struct {
	*actor
	rdb   redis.UniversalClient
	notes *[]string
}

func (a *cutter) Run(ctx context.Context, t mailbox.Task) (mailbox.Outcome, error) {
	*a.notes = append(*a.notes, t.Note)
	if t.Sequence == 1 {
		if err := a.rdb.HSet(ctx, contracts.KeyBox(t.Conversation), "stop", "1").Err(); err != nil {
			return mailbox.Outcome{}, err
		}
	}
	return a.actor.Run(ctx, t)
}

func (a *cutter) Fail(t mailbox.Task, err *contracts.Error) mailbox.Outcome {
	o, note := a.actor.Fail(t, err), "cut"
	o.Turn, o.Note = append([]byte("cut "), t.Undone.Turn...), &note
	return o
}

// A reset in its turn never lets a later message see what was said before it,
// whoever runs them, whatever is remembered, and wherever workers die.
func TestResetInOrder(t *testing.T) {
	for _, point := range []string{"none", "begun", "committed", "replied"} {
		t.Run(point, func(t *testing.T) {
			workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
				t.Parallel() // it waits more than it works
				resetAt(t, rdb, point)
			})
		})
	}
}

func resetAt(t *testing.T, rdb redis.UniversalClient, point string) {
	s := newStage(t, rdb, workerstest.Queue{AckWait: 600 * time.Millisecond})
	c := s.conversation("c")
	const messages, each = 16, 4 // every fourth is a reset
	var mu sync.Mutex
	saw := map[uint64]string{}
	run := func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
		turns, ok := task.Memory.([]string)
		for _, b := range task.Context {
			if ok {
				t.Error("context and memory")
			}
			turns = append(turns, string(b))
		}
		mu.Lock()
		saw[task.Sequence] = strings.Join(turns, ",")
		mu.Unlock()
		if task.Sequence%each == 0 {
			return mailbox.Outcome{Result: []byte("reset"), Reset: true}, nil
		}
		name := strconv.FormatUint(task.Sequence, 10)
		return mailbox.Outcome{
			Turn: []byte(name), Result: []byte("r"), Memory: append(slices.Clone(turns), name), MemorySize: len(name),
		}, nil
	}
	for n := 1; n <= messages; n++ {
		s.publish(c, n)
	}
	var deaths atomic.Int32
	for range 2 {
		s.worker(run, func(o *mailbox.Options) {
			o.Lease = 300 * time.Millisecond
			o.Crash = func(at string) {
				if at == point && deaths.Add(1) <= 3 {
					runtime.Goexit()
				}
			}
		})
	}
	s.finish()
	for n := uint64(1); n <= messages; n++ {
		var want []string
		for k := (n - 1) / each * each; k < n; k++ {
			if k%each != 0 {
				want = append(want, strconv.FormatUint(k, 10))
			}
		}
		if got := saw[n]; got != strings.Join(want, ",") {
			t.Errorf("message %d saw %q, want %v", n, got, want)
		}
	}
	if got := s.turns(c); len(got) != 0 { // the last was a reset
		t.Errorf("turns %v are left", got)
	}
}
