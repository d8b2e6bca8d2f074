package mailbox_test

import (
	"context"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

// dying makes some deliveries die at a point as a killed process does: they
// settle nothing and release nothing.
func dying(point string, deaths *atomic.Int32) func(*mailbox.Options) {
	return func(o *mailbox.Options) {
		o.Crash = func(at string) {
			if at == point && deaths.Add(1) <= 8 {
				runtime.Goexit()
			}
		}
	}
}

func TestDeadWorkersCostNothing(t *testing.T) {
	for _, point := range []string{"begun", "committed", "outbox stored", "replied"} {
		t.Run(point, func(t *testing.T) {
			workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
				t.Parallel() // it waits more than it works
				crashAt(t, rdb, point)
			})
		})
	}
}

func crashAt(t *testing.T, rdb redis.UniversalClient, point string) {
	s := newStage(t, rdb, workerstest.Queue{AckWait: 600 * time.Millisecond})
	var deaths atomic.Int32
	die := dying(point, &deaths)
	run := func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) { return answerOut(task), nil }
	for range 3 {
		s.worker(run, die, func(o *mailbox.Options) { o.Lease = 300 * time.Millisecond })
	}
	var names []string
	for c := range 4 {
		names = append(names, s.conversation(strconv.Itoa(c)))
	}
	for n := 1; n <= 5; n++ {
		for _, c := range names {
			s.publish(c, n)
		}
	}
	s.finish()
	s.committedOnce()
	if deaths.Load() < 8 {
		t.Fatalf("too few died at %q", point)
	}
	// Only a death before the commit may cost a run; these are all before the run or after the commit.
	if messages, runs, _ := s.ledger.totals(); runs != messages {
		t.Errorf("%d runs for %d messages", runs, messages)
	}
	s.sentOnce()
}

// sentOnce says that SEND holds each message's reply once, in the conversation's order.
func (s *stage) sentOnce() {
	s.t.Helper()
	got := map[string][]string{}
	for _, m := range workerstest.Contents(s.t, s.js, contracts.StreamSend) {
		o, err := contracts.DecodeOutgoing(m.Data)
		must(s.t, err)
		if id := m.Header.Get("Nats-Msg-Id"); id != o.ID {
			s.t.Errorf("stored under %q instead of %q", id, o.ID)
		}
		got[o.Conversation] = append(got[o.Conversation], o.ID)
	}
	for c, sent := range s.ledger.sent {
		if !slices.Equal(got[c], sent) {
			s.t.Errorf("SEND of %s:\npublished %v\nsent      %v", c, short(sent), short(got[c]))
		}
	}
	for c := range s.ledger.sent {
		if n := s.rdb.LLen(context.Background(), contracts.KeyOut(c)).Val(); n != 0 {
			s.t.Errorf("%d replies are left in the outbox of %s", n, c)
		}
	}
}

// The worker dies between commit and reply: the waiter is answered by the
// redelivery, from the parked result, without another run.
func TestRedeliverySendsTheReply(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{AckWait: 200 * time.Millisecond})
		c := s.conversation("c")
		id := s.publish(c, 1)
		dead := make(chan struct{})
		mortal := s.box(nil, func(o *mailbox.Options) {
			o.Crash = func(at string) {
				if at == "committed" {
					runtime.Goexit()
				}
			}
		})
		d := s.next()
		go func() {
			defer close(dead)
			_, _ = mortal.Handle(t.Context(), t.Context(), d)
		}()
		workerstest.Await(t, "the worker is dead", dead)
		if got := s.ledger.repliesOf(id); len(got) != 0 {
			t.Fatalf("replied before the death: %v", got)
		}
		if h, err := s.box(nil).Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledDone {
			t.Fatalf("the redelivery is handled as %s, %v", h, err)
		}
		if got := s.ledger.repliesOf(id); !slices.Equal(got, []string{"answer " + id}) {
			t.Fatalf("replies = %v", got)
		}
		if n := s.ledger.runsOf(id); n != 1 {
			t.Fatalf("%d runs", n)
		}
	})
}

// As above, with a reply in the outbox: the first redelivery stores it, replies
// and acknowledges; it needs no second one.
func TestRedeliveryEmptiesTheOutboxAndReplies(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{AckWait: 200 * time.Millisecond})
		c := s.conversation("c")
		id := s.publish(c, 1)
		run := func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) { return answerOut(task), nil }
		dead := make(chan struct{})
		mortal := s.box(run, func(o *mailbox.Options) {
			o.Lease = 50 * time.Millisecond
			o.Crash = func(at string) {
				if at == "committed" {
					runtime.Goexit()
				}
			}
		})
		d := s.next()
		go func() {
			defer close(dead)
			_, _ = mortal.Handle(t.Context(), t.Context(), d)
		}()
		workerstest.Await(t, "the worker is dead", dead)
		workerstest.Eventually(t, "its lease has run out", func() bool {
			return rdb.Exists(t.Context(), contracts.KeyLease(c)).Val() == 0
		})
		if h, err := s.box(run).Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledDone {
			t.Fatalf("the redelivery is handled as %s, %v", h, err)
		}
		if got := s.ledger.repliesOf(id); !slices.Equal(got, []string{"answer " + id}) {
			t.Fatalf("replies = %v", got)
		}
		s.sentOnce()
		workerstest.Eventually(t, "acknowledged", s.settled)
	})
}

// A message that kills whoever runs it is moved away after MaxAttempts, without
// another run.
func TestDeadlyMessageIsMovedAway(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{AckWait: 150 * time.Millisecond})
		c := s.conversation("c")
		id := s.publish(c, 1)
		s.publish(c, 2)
		s.worker(func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
			if task.ID == id {
				runtime.Goexit()
			}
			return answer(task), nil
		}, func(o *mailbox.Options) { o.Lease, o.MaxAttempts = 60*time.Millisecond, 3 })
		s.finish()
		if n := s.ledger.runsOf(id); n != 3 {
			t.Errorf("%d runs", n)
		}
		s.judgeDead(id)
	})
}
