package mailbox_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

func away(wait time.Duration) error {
	return &contracts.Error{Code: contracts.CodeModelFailed, Message: "away", Retryable: true, RetryAfter: wait}
}

// While a head waits out its back-off, the rest of its conversation waits
// behind it, another conversation goes on, and nobody's attempts are burnt.
func TestTransientFailureHoldsTheConversation(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c, other := s.conversation("c"), s.conversation("other")
		failing := true
		var attempts []int
		run := func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
			if task.ID == s.id(c, 1) {
				attempts = append(attempts, task.Attempt)
				if failing {
					return mailbox.Outcome{}, away(0)
				}
			}
			return answer(task), nil
		}
		slowly := func(o *mailbox.Options) { o.RetryBase, o.RetryMax = 200*time.Millisecond, 200*time.Millisecond }
		m := s.box(run, slowly)
		s.publish(c, 1)
		d := &quiet{Msg: s.next()}
		if h, err := m.Handle(t.Context(), t.Context(), d); err != nil || h != mailbox.HandledHeld {
			t.Fatalf("the failed head ends as %s, %v", h, err)
		}
		if wait := time.Duration(d.delay.Load()); wait < 150*time.Millisecond {
			t.Errorf("given back for %s", wait)
		}
		if got := rdb.Get(t.Context(), contracts.KeyLease(c)).Val(); got != contracts.LeaseHeld {
			t.Errorf("the lease is %q", got)
		}
		s.publish(c, 2)
		if h, err := m.Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledBusy {
			t.Errorf("the message behind it is handled as %s, %v", h, err)
		}
		s.publish(other, 1)
		if h, err := m.Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledDone {
			t.Errorf("another conversation is handled as %s, %v", h, err)
		}
		failing = false
		s.worker(run)
		s.finish()
		s.committedOnce()
		if !slices.Equal(attempts, []int{1, 1}) {
			t.Errorf("attempts were counted as %v", attempts)
		}
	})
}

func TestRetryAfterIsHonored(t *testing.T) {
	s := newStage(t, workerstest.MiniRedis(t), workerstest.Queue{})
	for n, c := range map[int]struct{ asked, max, want time.Duration }{
		1: {asked: time.Second, max: 5 * time.Second, want: time.Second},
		2: {asked: time.Hour, max: 2 * time.Second, want: 2 * time.Second}, // capped
	} {
		run := func(context.Context, mailbox.Task) (mailbox.Outcome, error) { return mailbox.Outcome{}, away(c.asked) }
		m := s.box(run, func(o *mailbox.Options) { o.RetryMax = c.max })
		s.publish(s.conversation(time.Duration(n).String()), n)
		d := &quiet{Msg: s.next()}
		if h, _ := m.Handle(t.Context(), t.Context(), d); h != mailbox.HandledHeld {
			t.Fatalf("ends as %s", h)
		}
		if got := time.Duration(d.delay.Load()); got < c.want || got > c.want+c.want/10 {
			t.Errorf("asked for %s, given back for %s", c.asked, got)
		}
	}
}

// A dependency that stays away is given up on after RetryFor, not before, and
// without the message having used an attempt.
func TestRetriesEndAfterRetryFor(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		now := time.Unix(1000, 0)
		run := func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
			if task.ID == s.id(c, 1) {
				return mailbox.Outcome{}, away(0)
			}
			return answer(task), nil
		}
		m := s.box(run, func(o *mailbox.Options) {
			o.Now, o.RetryFor, o.MaxAttempts = func() time.Time { return now }, time.Minute, 2
		})
		id := s.publish(c, 1)
		second := s.publish(c, 2)
		step := func() {
			for {
				h, err := m.Handle(t.Context(), t.Context(), s.next())
				must(t, err)
				if h != mailbox.HandledBusy {
					return
				}
			}
		}
		for range 4 { // more often than MaxAttempts
			step()
		}
		if got := s.ledger.repliesOf(id); len(got) != 0 {
			t.Fatalf("given up on too early: %v", got)
		}
		now = now.Add(time.Minute + time.Second)
		for len(s.ledger.repliesOf(second)) == 0 {
			step()
		}
		s.judgeDead(id)
	})
}

// judgeDead says that a message ended as a dead letter with a failed result.
func (s *stage) judgeDead(id string) (d contracts.Dead) {
	s.t.Helper()
	var found []contracts.Dead
	for _, m := range workerstest.Contents(s.t, s.js, contracts.StreamDead) {
		d, err := contracts.DecodeDead(m.Data)
		must(s.t, err)
		if d.ID == id {
			found = append(found, d)
		}
	}
	if len(found) != 1 {
		s.t.Errorf("%d dead letters of %s", len(found), id)
		return d
	}
	d = found[0]
	if _, err := (workerstest.Sealer{}).Open(d.Detail, contracts.KindDead, d.Conversation, d.ID); err != nil {
		s.t.Errorf("the dead letter's detail does not open: %v", err)
	}
	got := s.rdb.Get(context.Background(), contracts.KeyResult(d.Conversation, id)).Val()
	if got != "failed "+string(contracts.CodeDead) {
		s.t.Errorf("the result of the dead message is %q", got)
	}
	if got := s.ledger.repliesOf(id); len(got) == 0 {
		s.t.Error("nobody was told")
	}
	return d
}

// What may be the message's own fault uses up its attempts; then it is moved
// away, and the next message of the conversation has its turn.
func TestChargedFailuresUseUpTheAttempts(t *testing.T) {
	for name, fail := range map[string]func() error{
		"timeout": func() error { return &contracts.Error{Code: contracts.CodeModelTimeout, Retryable: true} },
		"bad answer": func() error {
			return &contracts.Error{Code: contracts.CodeModelAnswer, Retryable: true}
		},
		"unknown error": func() error { return errors.New("odd") },
		"panic":         func() error { panic("odd") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, workerstest.MiniRedis(t), workerstest.Queue{})
			c := s.conversation("c")
			id, next := s.publish(c, 1), s.publish(c, 2)
			done := contracts.KeyDone(c, id)
			run := func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
				if task.ID != id {
					return answer(task), nil
				}
				if s.ledger.runsOf(id) != task.Attempt {
					t.Errorf("run %d is attempt %d", s.ledger.runsOf(id), task.Attempt)
				}
				return mailbox.Outcome{}, fail()
			}
			early := &cut{}
			m := s.box(run, func(o *mailbox.Options) {
				o.MaxAttempts, o.Redis = 3, beside(t, s.rdb, orderOf(s, done, early))
			})
			for len(s.ledger.repliesOf(next)) == 0 {
				_, err := m.Handle(t.Context(), t.Context(), s.next())
				must(t, err)
			}
			if n := s.ledger.runsOf(id); n != 3 {
				t.Errorf("%d runs", n)
			}
			if d := s.judgeDead(id); d.Attempts != 3 {
				t.Errorf("dead after %d attempts", d.Attempts)
			}
			s.ledger.inOrder(t)
		})
	}
}

// orderOf gives a hook that fails the test when the done key appears before the
// dead letter is stored.
func orderOf(s *stage, done string, c *cut) redis.Hook { return &deadFirst{cut: c, s: s, done: done} }

type deadFirst struct {
	*cut
	s    *stage
	done string
}

func (d *deadFirst) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		before := d.s.rdb.Exists(ctx, d.done).Val()
		err := next(ctx, cmd)
		if before == 0 && d.s.rdb.Exists(ctx, d.done).Val() == 1 {
			st, serr := d.s.js.Stream(ctx, contracts.StreamDead)
			if serr != nil || st.CachedInfo().State.Msgs == 0 {
				d.s.t.Errorf("finished before the dead letter was stored (%v)", serr)
			}
		}
		return err
	}
}

// A final error is the answer: at once, and no dead letter.
func TestFinalErrorIsTheResult(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		id := s.publish(c, 1)
		run := func(context.Context, mailbox.Task) (mailbox.Outcome, error) {
			return mailbox.Outcome{}, &contracts.Error{Code: contracts.CodeModelFailed, Message: "refused"}
		}
		if h, err := s.box(run).Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledDone {
			t.Fatalf("ends as %s, %v", h, err)
		}
		if got := s.ledger.repliesOf(id); !slices.Equal(got, []string{"failed model_failed"}) {
			t.Errorf("replies = %v", got)
		}
		if got := workerstest.Contents(t, s.js, contracts.StreamDead); len(got) != 0 {
			t.Errorf("%d dead letters", len(got))
		}
		if turns := s.turns(c); len(turns) != 0 {
			t.Errorf("turns = %v", turns)
		}
		workerstest.Eventually(t, "settled", s.settled)
	})
}
