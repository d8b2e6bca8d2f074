package mailbox_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

// Redis is emptied while a run is in progress: the holder begins again, and its
// answer is kept.
func TestEmptiedDuringARun(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		run := func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
			if s.ledger.runsOf(s.id(c, 1)) == 1 && task.ID == s.id(c, 1) {
				must(t, rdb.FlushAll(t.Context()).Err())
			}
			return answer(task), nil
		}
		s.publish(c, 1)
		s.publish(c, 2)
		m := s.box(run)
		for range 2 {
			if h, err := m.Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledDone {
				t.Fatalf("ends as %s, %v", h, err)
			}
		}
		s.finish()
		s.committedOnce()
		if _, runs, _ := s.ledger.totals(); runs != 2 {
			t.Errorf("%d runs", runs)
		}
	})
}

// Redis is emptied while a second message is noted in want: its own delivery
// brings it up again, behind the first.
func TestEmptiedWhileAMessageWaits(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		entered, open := make(chan string, 4), make(chan struct{})
		run := func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
			entered <- task.ID
			<-open
			return answer(task), nil
		}
		s.publish(c, 1)
		s.worker(run)
		workerstest.Await(t, "the first runs", entered)
		s.publish(c, 2)
		s.worker(run)
		workerstest.Eventually(t, "the second is noted", func() bool {
			return rdb.HGet(t.Context(), contracts.KeyBox(c), "want").Val() == "2"
		})
		must(t, rdb.FlushAll(t.Context()).Err())
		close(open)
		s.finish()
		s.committedOnceOrAgain()
	})
}

// Redis is emptied between commit and ack.
func TestEmptiedBetweenCommitAndAck(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		emptied := false
		m := s.box(nil, func(o *mailbox.Options) {
			o.Crash = func(at string) {
				if at == "committed" && !emptied {
					emptied = true
					must(t, rdb.FlushAll(t.Context()).Err())
				}
			}
		})
		for n := 1; n <= 3; n++ {
			s.publish(c, n)
		}
		for range 3 {
			if h, err := m.Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledDone {
				t.Fatalf("ends as %s, %v", h, err)
			}
		}
		s.finish()
		_, runs, _ := s.ledger.totals()
		t.Logf("%d runs for 3 messages", runs)
		if runs > 4 { // the first one lost its done key, and the stream still holds it
			t.Errorf("%d runs", runs)
		}
	})
}

// Redis is emptied again and again under load. Nothing may be lost or
// overtaken; what is answered twice is counted.
func TestEmptiedUnderLoad(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		t.Parallel() // it waits more than it works
		s := newStage(t, rdb, workerstest.Queue{AckWait: 600 * time.Millisecond})
		run := func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
			work := time.NewTimer(2 * time.Millisecond)
			defer work.Stop()
			<-work.C
			return answer(task), nil
		}
		for range 3 {
			s.worker(run, func(o *mailbox.Options) { o.Lease = 300 * time.Millisecond })
		}
		for round := range 3 {
			_, before, _ := s.ledger.totals()
			for n := 3*round + 1; n <= 3*round+3; n++ {
				for c := range 20 {
					s.publish(s.conversation(strconv.Itoa(c)), n)
				}
			}
			workerstest.Eventually(t, "work is under way", func() bool {
				_, runs, _ := s.ledger.totals()
				return runs > before+10
			})
			must(t, rdb.FlushAll(t.Context()).Err())
		}
		s.finish()
		messages, runs, _ := s.ledger.totals()
		t.Logf("%d runs for %d messages, Redis emptied 3 times", runs, messages)
	})
}

// committedOnceOrAgain allows that what was committed before Redis was emptied
// is not there any more, or is there again.
func (s *stage) committedOnceOrAgain() {
	s.t.Helper()
	for c, sent := range s.ledger.sent {
		at := 0
		for _, id := range s.turns(c) {
			for at < len(sent) && sent[at] != id {
				at++
			}
			if at == len(sent) {
				s.t.Errorf("conversation %s: committed %v", c, short(s.turns(c)))
				break
			}
			at++
		}
	}
}
