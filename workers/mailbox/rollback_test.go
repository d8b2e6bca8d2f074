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

// last says only where to search: set too high by hand, nothing is skipped.
func TestLastTooHigh(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		for n := 1; n <= 6; n++ {
			s.publish(c, n)
		}
		m := s.box(nil)
		for range 2 {
			_, err := m.Handle(t.Context(), t.Context(), s.next())
			must(t, err)
		}
		for _, last := range []string{"1000", "5"} {
			must(t, rdb.HSet(t.Context(), contracts.KeyBox(c), "last", last).Err())
			_, err := m.Handle(t.Context(), t.Context(), s.next())
			must(t, err)
		}
		s.worker(nil)
		s.finish()
		s.committedOnce()
	})
}

func TestStreamRecreated(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		first := s.worker(nil)
		var names []string
		for c := range 5 {
			names = append(names, s.conversation(strconv.Itoa(c)))
		}
		for n := 1; n <= 10; n++ {
			for _, c := range names {
				s.publish(c, n)
			}
		}
		s.finish()
		s.committedOnce()
		first.stop()
		must(t, s.js.DeleteStream(t.Context(), contracts.StreamChat))
		_, err := s.js.CreateStream(t.Context(), workerstest.ChatStream(s.queue))
		must(t, err)
		workerstest.MakeConsumer(t, s.js, s.queue)
		for n := 11; n <= 20; n++ {
			for _, c := range names {
				s.publish(c, n)
			}
		}
		stale := s.view.Load() // one worker has not noticed yet
		s.worker(nil, func(o *mailbox.Options) { o.Look = func() mailbox.View { return *stale } })
		s.look()
		s.worker(nil)
		s.finish()
		s.committedOnce()
	})
}

// A run of the old stream ends after the stream was recreated. Its sequence
// must not become the place where the search in the new stream begins.
func TestCommitOfAnOldStreamDoesNotMoveTheSearch(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c, other := s.conversation("c"), s.conversation("other")
		s.publish(other, 1)
		s.publish(other, 2)
		s.publish(other, 3)
		s.publish(c, 1) // sequence 4
		entered, open := make(chan struct{}), make(chan struct{})
		old := s.box(func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
			close(entered)
			<-open
			return answer(task), nil
		})
		plain := s.box(nil)
		for range 3 {
			_, err := plain.Handle(t.Context(), t.Context(), s.next())
			must(t, err)
		}
		d := s.next()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = old.Handle(t.Context(), t.Context(), d)
		}()
		workerstest.Await(t, "the old run", entered)

		must(t, s.js.DeleteStream(t.Context(), contracts.StreamChat))
		_, err := s.js.CreateStream(t.Context(), workerstest.ChatStream(s.queue))
		must(t, err)
		workerstest.MakeConsumer(t, s.js, s.queue)
		s.look()
		s.publish(c, 2) // sequence 1
		early := s.next()
		if h, _ := plain.Handle(t.Context(), t.Context(), early); h != mailbox.HandledBusy {
			t.Fatalf("the first of the new stream is handled as %s", h)
		}
		s.publish(other, 4)
		s.publish(other, 5)
		s.publish(other, 6)
		s.publish(c, 3) // sequence 5: behind the old 4
		close(open)
		workerstest.Await(t, "the old run ends", ended)

		for range 4 { // whichever delivery comes first
			_, err := plain.Handle(t.Context(), t.Context(), s.next())
			must(t, err)
		}
		s.worker(nil)
		s.finish()
		s.committedOnce()
	})
}

// NATS is rolled back to a copy of its directory; Redis keeps what it knows.
// Messages of the copy that were finished since stay finished, new ones with
// sequences that were used before are answered, in order.
func TestStoreRolledBack(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{AckWait: 600 * time.Millisecond})
		var names []string
		for c := range 5 {
			names = append(names, s.conversation(strconv.Itoa(c)))
		}
		publish := func(from, to int) {
			for n := from; n <= to; n++ {
				for _, c := range names {
					s.publish(c, n)
				}
			}
		}
		publish(1, 4)
		saved := s.nats.Copy(t)
		s.connect()
		first := s.worker(nil, s.watching("a"))
		publish(5, 8)
		s.finish()
		must(t, s.janitor("b", 100).Look(t.Context()))
		first.stop()
		s.nats.Restore(t, saved)
		s.connect()
		seeing := s.watching("c")
		for range 3 {
			s.worker(nil, seeing)
		}
		publish(9, 20)
		s.finish()
		s.committedOnce()
		if messages, runs, _ := s.ledger.totals(); runs != messages {
			t.Errorf("%d runs for %d messages", runs, messages)
		}
	})
}

// watching gives a worker the view of a janitor that has just looked.
func (s *stage) watching(node string) func(*mailbox.Options) {
	s.t.Helper()
	j := s.janitor(node, 1000)
	must(s.t, j.Look(context.Background()))
	return func(o *mailbox.Options) { o.Look = j.View }
}

// As above, with the two deliveries that matter in the worst order: the later
// message is behind what last says, the earlier one is not.
func TestRewoundStreamIsSearchedFromItsBeginning(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		saved := s.nats.Copy(t)
		s.connect()
		m := s.box(nil, s.watching("a"))
		for n := 1; n <= 3; n++ {
			s.publish(c, n)
			_, err := m.Handle(t.Context(), t.Context(), s.next())
			must(t, err)
		}
		must(t, s.janitor("a", 1000).Look(t.Context())) // last is 3, in the box and in the mark
		s.nats.Restore(t, saved)
		s.connect()
		s.publish(c, 4) // sequence 1 again
		m = s.box(nil, s.watching("b"))
		for n := 5; n <= 7; n++ {
			s.publish(c, n) // 2, 3, 4
		}
		early := s.next()
		s.next()
		s.next()
		last := s.next()
		if h, err := m.Handle(t.Context(), t.Context(), last); err != nil || h != mailbox.HandledDone {
			t.Fatalf("the last ends as %s, %v", h, err)
		}
		if h, err := m.Handle(t.Context(), t.Context(), early); err != nil || h != mailbox.HandledDone {
			t.Fatalf("the first ends as %s, %v", h, err)
		}
		s.ledger.inOrder(t)
		s.committedOnce()
	})
}

// Nothing but a step back counts as one: not two janitors that look at once,
// not a purge, not a recreated stream.
func TestRewoundIsCountedOnce(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		look := func(want int64) {
			t.Helper()
			for _, node := range []string{"a", "b"} {
				j := s.janitor(node, 1000)
				must(t, j.Look(t.Context()))
				if got := j.View().Rewound; got != want {
					t.Errorf("janitor %s: rewound %d times, want %d", node, got, want)
				}
			}
		}
		look(0)
		s.publish(c, 1)
		saved := s.nats.Copy(t)
		s.connect()
		s.publish(c, 2)
		look(0)
		s.nats.Restore(t, saved)
		s.connect()
		look(1)
		s.publish(c, 3)
		s.publish(c, 4)
		look(1)
		s.nats.Restore(t, saved)
		s.connect()
		look(2)
		must(t, s.js.DeleteStream(t.Context(), contracts.StreamChat))
		_, err := s.js.CreateStream(t.Context(), workerstest.ChatStream(s.queue))
		must(t, err)
		workerstest.MakeConsumer(t, s.js, s.queue)
		look(0)
	})
}

// The broker goes by the sequence alone: the late ack of a message of a deleted
// stream would drop the one that has its sequence now.
func TestLateAckDoesNotHitTheNewStream(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{AckWait: 300 * time.Millisecond})
		c, other := s.conversation("c"), s.conversation("other")
		s.publish(c, 1)
		entered, open := make(chan struct{}), make(chan struct{})
		old := s.box(func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
			close(entered)
			<-open
			return answer(task), nil
		})
		d, ended := s.next(), make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = old.Handle(t.Context(), t.Context(), d)
		}()
		workerstest.Await(t, "the old run", entered)
		must(t, s.js.DeleteStream(t.Context(), contracts.StreamChat))
		_, err := s.js.CreateStream(t.Context(), workerstest.ChatStream(s.queue))
		must(t, err)
		workerstest.MakeConsumer(t, s.js, s.queue)
		s.look()
		id := s.publish(other, 1) // the old one's sequence
		s.next()                  // delivered to a worker that dies
		close(open)
		workerstest.Await(t, "the old run ends", ended)
		s.worker(nil)
		workerstest.Eventually(t, "the new message is answered", func() bool { return len(s.ledger.repliesOf(id)) == 1 })
		s.finish()
		s.committedOnce()
	})
}
