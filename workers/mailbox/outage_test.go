package mailbox_test

import (
	"context"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

// Redis does not answer: the delivery comes back with an error, and again, and
// no attempt is used up. With Redis back, everything is answered.
func TestRedisDown(t *testing.T) {
	r := workerstest.StartRedis(t)
	s := newStage(t, r.Client(t), workerstest.Queue{})
	c := s.conversation("c")
	id := s.publish(c, 1)
	s.publish(c, 2)
	m := s.box(nil, func(o *mailbox.Options) { o.MaxAttempts = 2 })
	r.Kill()
	for range 4 { // more often than MaxAttempts
		d := &quiet{Msg: s.next()}
		if h, err := m.Handle(t.Context(), t.Context(), d); err == nil || h != mailbox.HandledGiven {
			t.Fatalf("without Redis it ends as %s, %v", h, err)
		}
		if d.naks.Load() != 1 || d.acks.Load() != 0 || d.delay.Load() == 0 {
			t.Fatalf("%d naks with %s, %d acks", d.naks.Load(), time.Duration(d.delay.Load()), d.acks.Load())
		}
	}
	r.Start(t)
	s.worker(func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
		if task.ID == id && task.Attempt != 1 {
			t.Errorf("attempt %d", task.Attempt)
		}
		return answer(task), nil
	})
	s.finish()
	s.committedOnce()
}

// Redis dies during a run and is back before the answer is given up: nothing is
// run twice.
func TestRedisDiesDuringARun(t *testing.T) {
	r := workerstest.StartRedis(t)
	s := newStage(t, r.Client(t), workerstest.Queue{AckWait: 600 * time.Millisecond})
	c := s.conversation("c")
	dead, back := make(chan struct{}), make(chan struct{})
	run := func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
		if task.ID == s.id(c, 1) && s.ledger.runsOf(task.ID) == 1 {
			r.Kill()
			close(dead)
		}
		return answer(task), nil
	}
	s.publish(c, 1)
	s.publish(c, 2)
	w := s.worker(run)
	go func() {
		defer close(back)
		<-dead
		if len(s.ledger.repliesOf(s.id(c, 1))) != 0 {
			t.Error("replied before the commit")
		}
		r.Start(t)
	}()
	workerstest.Await(t, "Redis is back", back)
	s.finish()
	w.stop()
	s.committedOnce()
	if messages, runs, _ := s.ledger.totals(); runs != messages {
		t.Errorf("%d runs for %d messages", runs, messages)
	}
}

// The broker does not answer the search for the head: given back, not counted.
func TestHeadNotAvailable(t *testing.T) {
	s := newStage(t, workerstest.MiniRedis(t), workerstest.Queue{})
	c := s.conversation("c")
	id := s.publish(c, 1)
	d := &quiet{Msg: s.next()}
	lonely := s.nats.Connect(t)
	m := s.box(nil, func(o *mailbox.Options) { o.Conn = lonely })
	lonely.Close()
	if h, err := m.Handle(t.Context(), t.Context(), d); err == nil || h != mailbox.HandledGiven {
		t.Fatalf("ends as %s, %v", h, err)
	}
	if v := s.rdb.HGet(t.Context(), contracts.KeyBox(c), "t:"+id).Val(); v != "" {
		t.Errorf("an attempt is counted: %q", v)
	}
	if n := s.rdb.Exists(t.Context(), contracts.KeyLease(c)).Val(); n != 0 {
		t.Error("the lease is still there")
	}
	s.worker(nil)
	s.finish()
}
