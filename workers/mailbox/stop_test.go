package mailbox_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

// Soft stop: what runs is finished and committed, the next is not begun, and
// the conversation is free at once.
func TestSoftStopFinishesWhatRuns(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		first, second := s.publish(c, 1), s.publish(c, 2)
		entered, open := make(chan struct{}), make(chan struct{})
		m := s.box(func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
			close(entered)
			<-open
			return answer(task), nil
		})
		one, two := s.next(), s.next()
		take, stop := context.WithCancel(t.Context())
		ended := make(chan mailbox.Handled, 1)
		go func() {
			h, _ := m.Handle(take, t.Context(), one)
			ended <- h
		}()
		workerstest.Await(t, "the first runs", entered)
		if h, err := m.Handle(take, t.Context(), two); err != nil || h != mailbox.HandledBusy {
			t.Fatalf("the second ends as %s, %v", h, err)
		}
		stop()
		close(open)
		if h := workerstest.Await(t, "the holder ends", ended); h != mailbox.HandledDone {
			t.Fatalf("the holder ends as %s", h)
		}
		if got := s.ledger.repliesOf(first); len(got) != 1 {
			t.Errorf("the first was answered %v", got)
		}
		if n := s.ledger.runsOf(second); n != 0 {
			t.Errorf("the second was begun %d times", n)
		}
		if n := rdb.Exists(t.Context(), contracts.KeyLease(c)).Val(); n != 0 {
			t.Error("the lease is still there")
		}
		s.worker(nil)
		s.finish()
		s.committedOnce()
	})
}

// A delivery that comes after the stop is given back without a delay, untried.
func TestSoftStopGivesBackWhatDoesNotRun(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		id := s.publish(c, 1)
		take, stop := context.WithCancel(t.Context())
		stop()
		d := &quiet{Msg: s.next()}
		if h, err := s.box(nil).Handle(take, t.Context(), d); err != nil || h != mailbox.HandledGiven {
			t.Fatalf("ends as %s, %v", h, err)
		}
		s.untried(c, id, d)
	})
}

// untried says that a delivery was given back at once and left no trace.
func (s *stage) untried(c, id string, d *quiet) {
	s.t.Helper()
	if d.naks.Load() != 1 || d.delay.Load() != 0 || d.acks.Load() != 0 {
		s.t.Errorf("%d naks with %s, %d acks", d.naks.Load(), time.Duration(d.delay.Load()), d.acks.Load())
	}
	if n := s.rdb.Exists(context.Background(), contracts.KeyLease(c)).Val(); n != 0 {
		s.t.Error("the lease is still there")
	}
	if v := s.rdb.HGet(context.Background(), contracts.KeyBox(c), "t:"+id).Val(); v != "" {
		s.t.Errorf("an attempt is counted: %q", v)
	}
	s.worker(nil)
	s.finish()
	s.committedOnce()
}

// Work ended: the run is cancelled, its attempt taken back, the delivery comes again.
func TestWorkEndedGivesTheRunBack(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		id := s.publish(c, 1)
		work, stop := context.WithCancel(t.Context())
		m := s.box(func(ctx context.Context, _ mailbox.Task) (mailbox.Outcome, error) {
			stop()
			<-ctx.Done()
			return mailbox.Outcome{}, ctx.Err()
		})
		d := &quiet{Msg: s.next()}
		if h, err := m.Handle(work, work, d); err != nil || h != mailbox.HandledGiven {
			t.Fatalf("ends as %s, %v", h, err)
		}
		s.untried(c, id, d)
	})
}

// The answer came in the very moment in which work ended: it is paid for, so it
// is committed.
func TestAnswerAtTheEndOfWorkIsKept(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		s.publish(c, 1)
		work, stop := context.WithCancel(t.Context())
		m := s.box(func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
			stop()
			return answerOut(task), nil
		})
		if h, err := m.Handle(work, work, s.next()); err != nil || h != mailbox.HandledDone {
			t.Fatalf("ends as %s, %v", h, err)
		}
		s.finish()
		s.committedOnce()
		s.sentOnce()
	})
}

// The user's stop covers every message up to its sequence: none of them is run.
func TestStoppedMessagesAreNotRun(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		m := s.box(nil)
		s.publish(c, 1)
		_, err := m.Handle(t.Context(), t.Context(), s.next())
		must(t, err)
		second, third := s.publish(c, 2), s.publish(c, 3)
		must(t, rdb.HSet(t.Context(), contracts.KeyBox(c), "stop", "2").Err())
		s.worker(nil)
		s.finish()
		if s.ledger.runsOf(second) != 0 || s.ledger.runsOf(third) != 1 {
			t.Errorf("runs: %d of the stopped, %d of the next", s.ledger.runsOf(second), s.ledger.runsOf(third))
		}
		for _, got := range s.ledger.repliesOf(second) { // once by the holder, perhaps again by its own delivery
			if got != "failed stopped" {
				t.Errorf("the stopped was answered %q", got)
			}
		}
	})
}

// A stop that comes during a run ends what runs and what waits behind it.
func TestStopDuringARun(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		var ids []string
		for n := 1; n <= 4; n++ {
			ids = append(ids, s.publish(c, n))
		}
		m := s.box(func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
			if task.ID == ids[0] {
				// The others are busy meanwhile, so that this holder comes to them.
				must(t, rdb.HSet(t.Context(), contracts.KeyBox(c), "stop", "3", "want", "4").Err())
			}
			return answer(task), nil
		})
		if h, err := m.Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledDone {
			t.Fatalf("ends as %s, %v", h, err)
		}
		var runs []int
		var replies []string
		for _, id := range ids {
			runs = append(runs, s.ledger.runsOf(id))
			replies = append(replies, s.ledger.repliesOf(id)...)
		}
		if !slices.Equal(runs, []int{1, 0, 0, 1}) {
			t.Errorf("runs = %v", runs)
		}
		if want := []string{"failed stopped", "failed stopped", "failed stopped", "answer " + ids[3]}; !slices.Equal(replies, want) {
			t.Errorf("replies = %v", replies)
		}
		if got := s.turns(c); !slices.Equal(got, ids[3:]) {
			t.Errorf("turns = %v", short(got))
		}
		if got := rdb.Get(t.Context(), contracts.KeyResult(c, ids[0])).Val(); got != "failed stopped" {
			t.Errorf("the parked result is %q", got)
		}
	})
}

// The session was reset while a message ran: it is answered, but leaves no turn.
func TestResetDuringARun(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		first := s.publish(c, 1)
		m := s.box(func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
			if task.ID == first {
				must(t, rdb.HIncrBy(t.Context(), contracts.KeyBox(c), "epoch", 1).Err())
			}
			return answer(task), nil
		})
		_, err := m.Handle(t.Context(), t.Context(), s.next())
		must(t, err)
		second := s.publish(c, 2)
		_, err = m.Handle(t.Context(), t.Context(), s.next())
		must(t, err)
		if got := s.turns(c); !slices.Equal(got, []string{second}) {
			t.Errorf("turns = %v", short(got))
		}
		if got := rdb.Get(t.Context(), contracts.KeyResult(c, first)).Val(); got != "answer "+first {
			t.Errorf("the result is %q", got)
		}
	})
}
