package mailbox_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

// What is known here may stand for the stream only while every delivery comes
// here. With one worker it mostly does. With three, or with deliveries that get
// lost on their way, it does not, and the order must hold all the same.
func TestOrderWithoutAskingTheStream(t *testing.T) {
	for name, c := range map[string]struct {
		workers int
		lost    float64
	}{
		"one worker":               {1, 0},
		"three workers":            {3, 0},
		"deliveries that get lost": {1, 0.02},
		"all of it":                {2, 0.02},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits more than it works
			s := newStage(t, workerstest.MiniRedis(t), workerstest.Queue{AckWait: 500 * time.Millisecond})
			if c.lost > 0 {
				s.lose = func() bool { return rand.Float64() < c.lost }
			}
			janitor := mailbox.NewJanitor(mailbox.JanitorOptions{
				Conn: s.nc, Redis: s.rdb, Log: zerolog.Nop(), Node: "janitor", Stream: contracts.StreamChat,
				Consumer: contracts.ConsumerChat, Every: 20 * time.Millisecond, MaxFinished: 1000,
			})
			must(t, janitor.Look(t.Context()))
			ctx, stop := context.WithCancel(t.Context())
			tidied := make(chan error, 1)
			go func() { tidied <- janitor.Run(ctx) }()
			defer func() { stop(); must(t, <-tidied) }()
			var asked atomic.Int64
			count, err := s.nc.Subscribe("$JS.API.DIRECT.GET."+contracts.StreamChat, func(*nats.Msg) { asked.Add(1) })
			must(t, err)
			defer func() { _ = count.Unsubscribe() }()
			for range c.workers {
				s.worker(func(ctx context.Context, task mailbox.Task) (mailbox.Outcome, error) {
					pause := time.NewTimer(rand.N(2 * time.Millisecond))
					defer pause.Stop()
					<-pause.C
					return answer(task), nil
				}, func(o *mailbox.Options) { o.Look, o.Alone = janitor.View, true })
			}
			const conversations, each = 40, 15
			for n := 1; n <= each; n++ {
				for i := range conversations {
					s.publish(s.conversation(strconv.Itoa(i)), n)
				}
			}
			s.finish()
			s.committedOnce()
			t.Logf("the stream was asked %d times for %d messages", asked.Load(), conversations*each)
		})
	}
}

// A delivery that came again says nothing of what else was delivered before.
func TestOrderAfterARestart(t *testing.T) {
	s := newStage(t, workerstest.MiniRedis(t), workerstest.Queue{})
	var ran []uint64
	m := s.box((&sequences{&ran}).run, func(o *mailbox.Options) { o.Alone = true })
	x, c := s.conversation("x"), s.conversation("c")
	s.publish(x, 1)
	s.publish(c, 1)
	given, _ := s.next(), s.next() // to a process that dies: it gave one back, and held the other
	must(t, given.Nak())
	handle := func() {
		d := s.next()
		m.Note(d)
		if h, err := m.Handle(t.Context(), t.Context(), d); err != nil || h != mailbox.HandledDone {
			t.Fatalf("ends as %s, %v", h, err)
		}
	}
	handle()
	s.publish(c, 2)
	handle()
	if !slices.Equal(ran, []uint64{1, 2, 3}) {
		t.Errorf("ran %v", ran)
	}
}
