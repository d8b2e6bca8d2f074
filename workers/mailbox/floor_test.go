package mailbox_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

// Between two looks the floor alone moves; that of another consumer, or over
// another connection, is not taken for it.
func TestFloorMovesBetweenLooks(t *testing.T) {
	s := newStage(t, workerstest.MiniRedis(t), workerstest.Queue{})
	j, m := s.janitor("a", 1000), s.box(nil)
	handle := func() {
		if h, err := m.Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledDone {
			t.Fatalf("ends as %s, %v", h, err)
		}
	}
	finish := func(n int) {
		s.publish(s.conversation("c"), n)
		handle()
		workerstest.Eventually(t, "acknowledged", s.settled)
	}
	finish(1)
	must(t, j.Look(t.Context()))
	if v := j.View(); v.Floor != 1 {
		t.Fatalf("floor %d", v.Floor)
	}
	finish(2)
	must(t, j.Peek(t.Context()))
	if v := j.View(); v.Floor != 2 {
		t.Errorf("floor %d after a peek", v.Floor)
	}

	must(t, s.js.DeleteConsumer(t.Context(), contracts.StreamChat, contracts.ConsumerChat))
	_, err := s.js.CreateConsumer(t.Context(), contracts.StreamChat, jetstream.ConsumerConfig{
		Durable: contracts.ConsumerChat, AckPolicy: jetstream.AckExplicitPolicy,
	})
	must(t, err)
	s.publish(s.conversation("c"), 3)
	handle() // the second again
	handle()
	workerstest.Eventually(t, "acknowledged", s.settled)
	must(t, j.Peek(t.Context()))
	if v := j.View(); v.Floor != 2 {
		t.Errorf("floor %d of another consumer", v.Floor)
	}
	must(t, j.Look(t.Context()))
	if v := j.View(); v.Floor != 3 {
		t.Errorf("floor %d after a look", v.Floor)
	}
}

// The search for the head begins at the floor, so that what Redis has lost of
// finished messages is not run again.
func TestHeadIsSearchedFromTheFloor(t *testing.T) {
	s := newStage(t, workerstest.MiniRedis(t), workerstest.Queue{})
	c := s.conversation("c")
	for n := 1; n <= 3; n++ {
		s.publish(c, n)
	}
	for range 2 { // finished, as far as the stream is concerned
		must(t, s.next().Ack())
	}
	third := s.next()
	var ran []uint64
	handle := func(floor uint64, reconnects uint64) {
		t.Helper()
		ran = nil
		m := s.box((&sequences{&ran}).run, func(o *mailbox.Options) {
			v := *s.view.Load()
			v.Floor, v.Connects = floor, reconnects
			o.Look = func() mailbox.View { return v }
		})
		must(t, s.rdb.FlushAll(t.Context()).Err())
		if _, err := m.Handle(t.Context(), t.Context(), again{third}); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		floor, reconnects uint64
		first             uint64
	}{
		"no floor":                         {0, 0, 1},
		"the floor":                        {2, 0, 3},
		"a floor of before a reconnect":    {2, 7, 1},
		"a floor above what was delivered": {3, 0, 1},
	} {
		handle(c.floor, c.reconnects)
		if len(ran) == 0 || ran[0] != c.first || ran[len(ran)-1] != 3 {
			t.Errorf("%s: ran %v", name, ran)
		}
	}
}

// sequences notes what is run.
type sequences struct{ ran *[]uint64 }

func (q *sequences) run(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
	*q.ran = append(*q.ran, task.Sequence)
	return mailbox.Outcome{Result: []byte("r")}, nil
}

// again is a delivery that may be handled as often as the test likes.
type again struct{ jetstream.Msg }

func (again) Ack() error                       { return nil }
func (again) NakWithDelay(time.Duration) error { return nil }
func (again) InProgress() error                { return nil }
