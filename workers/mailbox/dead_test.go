package mailbox_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

// What no Runner can read goes to the dead letters on its first delivery, as it
// is, and what comes behind it flows.
func TestUnreadableMessages(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		open := func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
			l, err := contracts.DecodeLetter(task.Data)
			if err == nil {
				_, err = l.Open(workerstest.Sealer{})
			}
			if err != nil {
				return mailbox.Outcome{}, &contracts.Error{Code: contracts.CodeDead, Message: "cannot be opened", Err: err}
			}
			return answer(task), nil
		}
		c, other := s.conversation("c"), s.conversation("other")
		changed := bytes.Replace(s.letter(c, 1), []byte("\n"), []byte("\nAAAA"), 1)
		bad := map[string][]byte{
			"garbage":                    []byte("\x00\xffgarbage"),
			"empty":                      {},
			"unknown version":            append([]byte("9"), s.letter(c, 2)[1:]...),
			"body does not open":         changed,
			"another conversation's":     s.letter(other, 3),
			"an id that contradicts it":  bytes.Replace(s.letter(c, 4), []byte(c+"."), []byte(other+"."), 1),
			"an envelope without a body": []byte(`{"v":1}`),
		}
		for name, data := range bad {
			_, err := s.js.Publish(t.Context(), contracts.SubjectChat(c), data)
			must(t, err)
			d := s.next()
			if h, err := s.box(open).Handle(t.Context(), t.Context(), d); err != nil || h != mailbox.HandledDone {
				t.Errorf("%s ends as %s, %v", name, h, err)
			}
			letters := workerstest.Contents(t, s.js, contracts.StreamDead)
			dead, err := contracts.DecodeDead(letters[len(letters)-1].Data)
			must(t, err)
			if !bytes.Equal(dead.Original, data) || dead.Subject != contracts.SubjectChat(c) || dead.Stream != contracts.StreamChat {
				t.Errorf("%s is kept as %+v", name, dead)
			}
		}
		if got := len(workerstest.Contents(t, s.js, contracts.StreamDead)); got != len(bad) {
			t.Errorf("%d dead letters for %d bad messages", got, len(bad))
		}
		s.publish(c, 9)
		s.publish(other, 9)
		s.worker(open)
		workerstest.Eventually(t, "others flow", func() bool {
			return len(s.ledger.repliesOf(s.id(c, 9))) == 1 && len(s.ledger.repliesOf(s.id(other, 9))) == 1 && s.settled()
		})
	})
}

// A subject that names no conversation belongs to nobody's order.
func TestForeignSubject(t *testing.T) {
	s := newStage(t, workerstest.MiniRedis(t), workerstest.Queue{})
	for _, subject := range []string{"chat.in.nobody", "chat.in.0000000000000000000000000Z"} {
		_, err := s.js.Publish(t.Context(), subject, []byte("x"))
		must(t, err)
		if h, err := s.box(nil).Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledDeadRaw {
			t.Errorf("ends as %s, %v", h, err)
		}
	}
	if got := len(workerstest.Contents(t, s.js, contracts.StreamDead)); got != 2 {
		t.Errorf("%d dead letters", got)
	}
	workerstest.Eventually(t, "settled", s.settled)
}

// Without a place for dead letters nothing is dropped: the message stays and is
// tried again, and not as an attempt.
func TestDeadLettersNotAvailable(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		t.Parallel() // it waits more than it works
		s := newStage(t, rdb, workerstest.Queue{})
		st, err := s.js.Stream(t.Context(), contracts.StreamDead)
		must(t, err)
		config := st.CachedInfo().Config
		must(t, s.js.DeleteStream(t.Context(), contracts.StreamDead))
		c := s.conversation("c")
		ack, err := s.js.Publish(t.Context(), contracts.SubjectChat(c), []byte("garbage"))
		must(t, err)
		_, err = s.js.Publish(t.Context(), "chat.in.nobody", []byte("garbage"))
		must(t, err)
		m := s.box(nil)
		for range 4 {
			if h, err := m.Handle(t.Context(), t.Context(), s.next()); err == nil || h != mailbox.HandledGiven {
				t.Fatalf("ends as %s, %v", h, err)
			}
		}
		_, err = s.js.CreateStream(t.Context(), config)
		must(t, err)
		s.worker(nil)
		workerstest.Eventually(t, "settled", s.settled)
		letters := workerstest.Contents(t, s.js, contracts.StreamDead)
		if len(letters) != 2 {
			t.Fatalf("%d dead letters", len(letters))
		}
		for _, l := range letters {
			d, err := contracts.DecodeDead(l.Data)
			must(t, err)
			if d.Sequence == ack.Sequence && d.Attempts != 1 {
				t.Errorf("after %d attempts", d.Attempts)
			}
		}
	})
}

// The leader says that our own message is not there. It is given back, never
// acknowledged: the leader may have been wrong.
func TestOwnMessageNotFound(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		c := s.conversation("c")
		id := s.publish(c, 1)
		m := s.box(nil)
		m.DenyHead(1)
		d := &quiet{Msg: s.next()}
		if h, err := m.Handle(t.Context(), t.Context(), d); err != nil || h != mailbox.HandledNotFound {
			t.Fatalf("ends as %s, %v", h, err)
		}
		if d.acks.Load() != 0 || d.naks.Load() != 1 {
			t.Fatalf("%d acks, %d naks", d.acks.Load(), d.naks.Load())
		}
		if h, err := m.Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledDone {
			t.Fatalf("the redelivery ends as %s, %v", h, err)
		}
		if n := s.ledger.runsOf(id); n != 1 {
			t.Errorf("%d runs", n)
		}
	})
}

// A message that somebody deleted while it was delivered is run by nobody, and
// the broker forgets it.
func TestDeletedMessage(t *testing.T) {
	s := newStage(t, workerstest.MiniRedis(t), workerstest.Queue{})
	c := s.conversation("c")
	id := s.publish(c, 1)
	d := s.next()
	meta, err := d.Metadata()
	must(t, err)
	st, err := s.js.Stream(t.Context(), contracts.StreamChat)
	must(t, err)
	must(t, st.DeleteMsg(t.Context(), meta.Sequence.Stream))
	if h, err := s.box(nil).Handle(t.Context(), t.Context(), d); err != nil || h != mailbox.HandledNotFound {
		t.Fatalf("ends as %s, %v", h, err)
	}
	batch, err := s.consumer().FetchNoWait(1)
	must(t, err)
	for range batch.Messages() {
		t.Error("delivered again")
	}
	if n := s.ledger.runsOf(id); n != 0 {
		t.Errorf("%d runs", n)
	}
	if got := s.rdb.HGetAll(t.Context(), contracts.KeyBox(c)).Val(); got["t:"+id] != "" {
		t.Errorf("an attempt is left: %v", got)
	}
}
