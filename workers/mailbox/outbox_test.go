package mailbox_test

import (
	"context"
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

func sending(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
	return answerOut(task), nil
}

// SEND is full: the answer stays in the outbox, the conversation is held, and
// nothing is acknowledged. When there is room again, everything goes out once
// and in order.
func TestSendFullForAWhile(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{MaxSend: 1})
		c, other := s.conversation("c"), s.conversation("other")
		m := s.box(sending)
		s.publish(other, 1)
		if h, err := m.Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledDone {
			t.Fatalf("the first ends as %s, %v", h, err)
		}
		id := s.publish(c, 1)
		d := &quiet{Msg: s.next()}
		if h, err := m.Handle(t.Context(), t.Context(), d); err != nil || h != mailbox.HandledHeld {
			t.Fatalf("with a full SEND it ends as %s, %v", h, err)
		}
		if d.acks.Load() != 0 || d.naks.Load() != 1 {
			t.Errorf("%d acks, %d naks", d.acks.Load(), d.naks.Load())
		}
		if got := s.ledger.repliesOf(id); len(got) != 0 {
			t.Errorf("replied before the reply was stored: %v", got)
		}
		s.publish(c, 2)
		s.publish(c, 3)
		w := s.worker(sending)
		workerstest.Eventually(t, "tried in vain", func() bool {
			i := s.consumer()
			return i.CachedInfo().NumRedelivered > 0
		})
		if n := s.ledger.runsOf(s.id(c, 2)); n != 0 {
			t.Errorf("the message behind was run %d times", n)
		}
		st, err := s.js.Stream(t.Context(), contracts.StreamSend)
		must(t, err)
		config := st.CachedInfo().Config
		config.MaxMsgs = -1
		_, err = s.js.UpdateStream(t.Context(), config)
		must(t, err)
		s.finish()
		w.stop()
		s.committedOnce()
		s.sentOnce()
		if messages, runs, _ := s.ledger.totals(); runs != messages {
			t.Errorf("%d runs for %d messages", runs, messages)
		}
	})
}

// Several workers, several conversations: each reply once and in order.
func TestOutboxKeepsOrder(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		for range 3 {
			s.worker(sending)
		}
		for n := 1; n <= 10; n++ {
			for _, name := range []string{"a", "b", "c", "d"} {
				s.publish(s.conversation(name), n)
			}
		}
		s.finish()
		s.committedOnce()
		s.sentOnce()
	})
}

// An entry that nobody can read does not close the conversation for ever.
func TestUnreadableOutboxEntry(t *testing.T) {
	s := newStage(t, workerstest.MiniRedis(t), workerstest.Queue{})
	c := s.conversation("c")
	must(t, s.rdb.RPush(t.Context(), contracts.KeyOut(c), "garbage").Err())
	s.publish(c, 1)
	if h, err := s.box(sending).Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledDone {
		t.Fatalf("ends as %s, %v", h, err)
	}
	s.sentOnce()
	letters := workerstest.Contents(t, s.js, contracts.StreamDead)
	if len(letters) != 1 {
		t.Fatalf("%d dead letters", len(letters))
	}
	if d, err := contracts.DecodeDead(letters[0].Data); err != nil || string(d.Original) != "garbage" {
		t.Errorf("dead letter %+v, %v", d, err)
	}
}

// A dead worker left an entry behind that SEND already holds: it is recognized
// by its id, and the next message's reply comes after it.
func TestStoredEntryIsNotSentTwice(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		first := s.id(c, 1)
		entry := answerOut(mailbox.Task{ID: first, Conversation: c}).Out
		_, err := s.js.Publish(t.Context(), contracts.SubjectSend("dingtalk", c), entry, jetstream.WithMsgID(first))
		must(t, err)
		must(t, rdb.RPush(t.Context(), contracts.KeyOut(c), entry).Err())
		second := s.publish(c, 2)
		if h, err := s.box(sending).Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledDone {
			t.Fatalf("ends as %s, %v", h, err)
		}
		var got []string
		for _, m := range workerstest.Contents(t, s.js, contracts.StreamSend) {
			got = append(got, m.Header.Get(jetstream.MsgIDHeader))
		}
		if !slices.Equal(got, []string{first, second}) {
			t.Errorf("SEND holds %v", short(got))
		}
		workerstest.Eventually(t, "nothing is held", func() bool {
			return rdb.Exists(t.Context(), contracts.KeyLease(c)).Val() == 0
		})
	})
}
