package mailbox_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

func TestEveryMessageOnceAndInOrder(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		// Short, because a purge may make a busy delivery wait this long (purge_test.go).
		s := newStage(t, rdb, workerstest.Queue{AckWait: 3 * time.Second})
		slow := func(ctx context.Context, task mailbox.Task) (mailbox.Outcome, error) {
			work := time.NewTimer(rand.N(3 * time.Millisecond))
			defer work.Stop()
			select {
			case <-ctx.Done():
				return mailbox.Outcome{}, ctx.Err()
			case <-work.C:
				return answer(task), nil
			}
		}
		janitor := mailbox.NewJanitor(mailbox.JanitorOptions{
			Conn: s.nc, Redis: rdb, Log: zerolog.Nop(), Node: "janitor", Stream: contracts.StreamChat,
			Consumer: contracts.ConsumerChat, Every: 20 * time.Millisecond, MaxFinished: 1000,
		})
		must(t, janitor.Look(t.Context()))
		ctx, stop := context.WithCancel(t.Context())
		tidied := make(chan error, 1)
		go func() { tidied <- janitor.Run(ctx) }()
		defer func() { stop(); must(t, <-tidied) }()
		for range 3 {
			s.worker(slow, func(o *mailbox.Options) { o.Look = janitor.View })
		}
		for n := 1; n <= 15; n++ {
			for c := range 60 {
				s.publish(s.conversation(strconv.Itoa(c)), n)
			}
		}
		s.finish()
		s.committedOnce()
		if messages, runs, _ := s.ledger.totals(); messages != 900 || runs != messages {
			t.Errorf("%d runs for %d messages", runs, messages)
		}
		workerstest.Eventually(t, "the stream is purged", func() bool {
			st, err := s.js.Stream(t.Context(), contracts.StreamChat)
			return err == nil && st.CachedInfo().State.Msgs == 0
		})
	})
}

// BusyDelay is far longer than the test: only the word that the second message
// left in want can bring it up.
func TestSecondMessageNeedsNoRedelivery(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		entered, open := make(chan string, 2), make(chan struct{})
		run := func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
			entered <- task.ID
			<-open
			return answer(task), nil
		}
		patient := func(o *mailbox.Options) { o.BusyDelay, o.Lease = 30*time.Second, time.Minute }
		a, b := s.box(run, patient), s.box(run, patient)
		c := s.conversation("c")
		first := s.publish(c, 1)
		one := s.next()
		done := make(chan mailbox.Handled, 1)
		go func() {
			h, _ := a.Handle(t.Context(), t.Context(), one)
			done <- h
		}()
		if got := workerstest.Await(t, "the first runs", entered); got != first {
			t.Fatalf("%s runs first", got)
		}
		second := s.publish(c, 2)
		if h, err := b.Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledBusy {
			t.Fatalf("the second is handled as %s, %v", h, err)
		}
		close(open)
		if got := workerstest.Await(t, "the second runs", entered); got != second {
			t.Fatalf("%s runs second", got)
		}
		if h := workerstest.Await(t, "the holder is done", done); h != mailbox.HandledDone {
			t.Fatalf("the holder ends as %s", h)
		}
		s.ledger.inOrder(t)
		s.committedOnce()
		if n := rdb.Exists(t.Context(), contracts.KeyLease(c)).Val(); n != 0 {
			t.Error("the lease is still there")
		}
	})
}
