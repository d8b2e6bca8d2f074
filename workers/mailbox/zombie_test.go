package mailbox_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

var errCut = errors.New("cut off by the test")

// cut is a hook of a Redis client that fails the scripts with a given hash
// while it is closed.
type cut struct {
	closed atomic.Bool
	sha    string // empty: everything
}

func (c *cut) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *cut) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (c *cut) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if c.closed.Load() && (c.sha == "" || len(cmd.Args()) > 1 && cmd.Args()[1] == c.sha) {
			cmd.SetErr(errCut)
			return errCut
		}
		return next(ctx, cmd)
	}
}

// beside gives a second client of the same Redis, with a hook.
func beside(t testing.TB, rdb redis.UniversalClient, h redis.Hook) *redis.Client {
	t.Helper()
	o := rdb.(*redis.Client).Options()
	c := redis.NewClient(&redis.Options{Network: o.Network, Addr: o.Addr, PoolSize: o.PoolSize})
	c.AddHook(h)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// A worker that cannot renew loses its lease to another. Its own answer comes
// too late: it is refused, and it settles nothing.
func TestZombieIsRefused(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{AckWait: 300 * time.Millisecond})
		c := s.conversation("c")
		id := s.publish(c, 1)
		silence := &cut{}
		deaf := beside(t, rdb, silence)
		entered, open := make(chan struct{}), make(chan struct{})
		zombie := s.box(func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
			silence.closed.Store(true) // no renewal gets through, and it does not listen to its context
			close(entered)
			<-open
			o := answer(task)
			o.Result = []byte("from the grave")
			return o, nil
		}, func(o *mailbox.Options) {
			o.Redis, o.Lease, o.Beat = deaf, 60*time.Millisecond, 100*time.Millisecond
		})
		one := &quiet{Msg: s.next(), mute: true}
		type end struct {
			h   mailbox.Handled
			err error
		}
		ended := make(chan end, 1)
		go func() {
			h, err := zombie.Handle(t.Context(), t.Context(), one)
			ended <- end{h, err}
		}()
		workerstest.Await(t, "the zombie runs", entered)
		workerstest.Eventually(t, "its lease has run out", func() bool {
			return rdb.Exists(t.Context(), contracts.KeyLease(c)).Val() == 0
		})
		if h, err := s.box(nil).Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledDone {
			t.Fatalf("the other worker ends as %s, %v", h, err)
		}
		silence.closed.Store(false)
		close(open)
		e := workerstest.Await(t, "the zombie ends", ended)
		if e.err != nil || e.h != mailbox.HandledRefused && e.h != mailbox.HandledDone {
			t.Fatalf("the zombie ends as %s, %v", e.h, e.err)
		}
		if one.naks.Load() != 0 {
			t.Error("the zombie gave the delivery back")
		}
		s.committedOnce()
		if got := rdb.Get(t.Context(), contracts.KeyResult(c, id)).Val(); got != "answer "+id {
			t.Errorf("the result is %q", got)
		}
		for _, r := range s.ledger.repliesOf(id) {
			if strings.Contains(r, "grave") {
				t.Error("the zombie's answer was sent")
			}
		}
		workerstest.Eventually(t, "settled", s.settled)
	})
}

// As above, but the other worker is still at it when the zombie comes back: the
// zombie neither acknowledges nor gives back what is in the other's hands.
func TestZombieLeavesTheDeliveryToTheHolder(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{AckWait: 300 * time.Millisecond})
		c := s.conversation("c")
		s.publish(c, 1)
		silence := &cut{}
		deaf := beside(t, rdb, silence)
		entered, open := make(chan string, 2), map[string]chan struct{}{"zombie": make(chan struct{}), "other": make(chan struct{})}
		run := func(name string) runFunc {
			return func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
				if name == "zombie" {
					silence.closed.Store(true)
				}
				entered <- name
				<-open[name]
				return answer(task), nil
			}
		}
		zombie := s.box(run("zombie"), func(o *mailbox.Options) {
			o.Redis, o.Lease, o.Beat = deaf, 60*time.Millisecond, 100*time.Millisecond
		})
		handle := func(m *mailbox.Mailbox, d *quiet) chan mailbox.Handled {
			ended := make(chan mailbox.Handled, 1)
			go func() {
				h, _ := m.Handle(t.Context(), t.Context(), d)
				ended <- h
			}()
			return ended
		}
		one := &quiet{Msg: s.next(), mute: true}
		zombieEnds := handle(zombie, one)
		workerstest.Await(t, "the zombie runs", entered)
		workerstest.Eventually(t, "its lease has run out", func() bool {
			return rdb.Exists(t.Context(), contracts.KeyLease(c)).Val() == 0
		})
		two := &quiet{Msg: s.next()}
		otherEnds := handle(s.box(run("other")), two)
		workerstest.Await(t, "the other runs", entered)
		silence.closed.Store(false)
		close(open["zombie"])
		if h := workerstest.Await(t, "the zombie ends", zombieEnds); h != mailbox.HandledRefused {
			t.Errorf("the zombie ends as %s", h)
		}
		if one.naks.Load()+one.acks.Load() != 0 {
			t.Errorf("the zombie settled: %d acks, %d naks", one.acks.Load(), one.naks.Load())
		}
		close(open["other"])
		if h := workerstest.Await(t, "the other ends", otherEnds); h != mailbox.HandledDone {
			t.Errorf("the other ends as %s", h)
		}
		s.committedOnce()
		workerstest.Eventually(t, "settled", s.settled)
	})
}

// A renewal that cannot reach Redis does not end the run; one that finds
// another holder does.
func TestOnlyAnotherHolderEndsARun(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		id := s.publish(c, 1)
		silence := &cut{}
		deaf := beside(t, rdb, silence)
		beats := make(chan struct{}, 100)
		run := func(ctx context.Context, task mailbox.Task) (mailbox.Outcome, error) {
			silence.closed.Store(true)
			for range 5 { // beats in which no renewal gets through
				select {
				case <-ctx.Done():
					t.Error("the run was ended by a Redis that does not answer")
				case <-beats:
				}
			}
			must(t, rdb.Set(t.Context(), contracts.KeyLease(c), "somebody else", time.Minute).Err())
			silence.closed.Store(false)
			workerstest.Await(t, "the run is ended", ctx.Done())
			return mailbox.Outcome{}, ctx.Err()
		}
		d := &quiet{Msg: s.next(), beats: beats}
		m := s.box(run, func(o *mailbox.Options) { o.Redis, o.Lease = deaf, 30*time.Millisecond })
		if h, err := m.Handle(t.Context(), t.Context(), d); err != nil || h != mailbox.HandledRefused {
			t.Errorf("ends as %s, %v", h, err)
		}
		if d.acks.Load()+d.naks.Load() != 0 {
			t.Error("the delivery was settled")
		}
		if got := s.ledger.repliesOf(id); len(got) != 0 {
			t.Errorf("replied %v", got)
		}
	})
}

// The lease ran out unnoticed by others: the fence decides, the commit counts.
func TestCommitNeedsTheFenceNotTheLease(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		id := s.publish(c, 1)
		run := func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
			must(t, rdb.Del(t.Context(), contracts.KeyLease(c)).Err())
			return answer(task), nil
		}
		if h, err := s.box(run).Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledDone {
			t.Fatalf("ends as %s, %v", h, err)
		}
		s.committedOnce()
		if got := s.ledger.repliesOf(id); !slices.Equal(got, []string{"answer " + id}) {
			t.Errorf("replies = %v", got)
		}
	})
}
