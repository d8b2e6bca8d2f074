package mailbox_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

func (s *stage) janitor(node string, maxFinished uint64) *mailbox.Janitor {
	return mailbox.NewJanitor(mailbox.JanitorOptions{
		Conn: s.nc, Redis: s.rdb, Log: zerolog.Nop(), Node: node, Stream: contracts.StreamChat,
		Consumer: contracts.ConsumerChat, Every: 50 * time.Millisecond, MaxFinished: maxFinished,
	})
}

func (s *stage) inStream() (first, messages uint64) {
	s.t.Helper()
	st, err := s.js.Stream(s.t.Context(), contracts.StreamChat)
	must(s.t, err)
	i := st.CachedInfo().State
	return i.FirstSeq, i.Msgs
}

// One slow message holds the floor: nothing at or above it is purged, and once
// enough finished ones lie there, the workers delete theirs one by one.
func TestHeldFloor(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		j := s.janitor("a", 5)
		must(t, j.Look(t.Context()))
		m := s.box(nil, func(o *mailbox.Options) { o.Look = j.View })
		handle := func() {
			if h, err := m.Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledDone {
				t.Fatalf("ends as %s, %v", h, err)
			}
		}
		for n := 1; n <= 3; n++ {
			s.publish(s.conversation("before"), n)
			handle()
		}
		s.publish(s.conversation("slow"), 1) // sequence 4
		slow := s.next()
		look := func(what string, ok func() bool) {
			workerstest.Eventually(t, what, func() bool {
				must(t, j.Look(t.Context()))
				return ok()
			})
		}
		look("purged up to the slow one", func() bool { first, _ := s.inStream(); return first == 4 })
		for n := 1; n <= 6; n++ {
			s.publish(s.conversation("after"), n)
			handle()
		}
		look("crowded", func() bool { return j.View().Crowded })
		if first, messages := s.inStream(); first != 4 || messages != 7 {
			t.Fatalf("the stream begins at %d and holds %d", first, messages)
		}
		s.publish(s.conversation("after"), 7)
		s.publish(s.conversation("after"), 8)
		handle()
		handle() // the last one stays
		if _, messages := s.inStream(); messages != 8 {
			t.Errorf("a finished message was not deleted: the stream holds %d", messages)
		}
		if h, err := m.Handle(t.Context(), t.Context(), slow); err != nil || h != mailbox.HandledDone {
			t.Fatalf("the slow one ends as %s, %v", h, err)
		}
		look("everything is purged", func() bool { _, messages := s.inStream(); return messages == 0 })
		look("not crowded any more", func() bool { return !j.View().Crowded })
		s.finish()
		s.committedOnce()
	})
}

// A lively conversation finishes more messages between two purges than its
// subject may hold.
func TestLivelyConversationIsNotFull(t *testing.T) {
	s := newStage(t, workerstest.MiniRedis(t), workerstest.Queue{MaxPerSubject: 8})
	m := s.box(nil, func(o *mailbox.Options) { o.MaxKept = 4 })
	for n := 1; n <= 40; n++ {
		s.publish(s.conversation("c"), n)
		if h, err := m.Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledDone {
			t.Fatalf("ends as %s, %v", h, err)
		}
	}
	s.finish()
	s.committedOnce()
	if _, messages := s.inStream(); messages > 5 {
		t.Errorf("%d finished messages are kept", messages)
	}
}

// Only one janitor purges. When it is gone, another takes over.
func TestJanitorsTakeTurns(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		a, b := s.janitor("a", 100), s.janitor("b", 100)
		m := s.box(nil)
		finish := func(n int) {
			s.publish(s.conversation("c"), n)
			if h, err := m.Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledDone {
				t.Fatalf("ends as %s, %v", h, err)
			}
			workerstest.Eventually(t, "acknowledged", s.settled)
		}
		finish(1)
		must(t, a.Look(t.Context()))
		if _, messages := s.inStream(); messages != 0 {
			t.Fatalf("the first janitor left %d messages", messages)
		}
		must(t, rdb.PExpire(t.Context(), contracts.KeyJanitor(contracts.StreamChat), time.Minute).Err())
		finish(2)
		must(t, b.Look(t.Context()))
		if _, messages := s.inStream(); messages != 1 {
			t.Fatal("the second janitor purged out of turn")
		}
		if b.View().Created.IsZero() {
			t.Error("the second janitor has no view")
		}
		must(t, rdb.PExpire(t.Context(), contracts.KeyJanitor(contracts.StreamChat), time.Millisecond).Err())
		workerstest.Eventually(t, "the second took over", func() bool {
			must(t, b.Look(t.Context()))
			_, messages := s.inStream()
			return messages == 0
		})
	})
}

// A message that is delivered but not acknowledged is not purged, whatever lies
// behind it is finished; nor is one that waits.
func TestJanitorPurgesNothingUnfinished(t *testing.T) {
	s := newStage(t, workerstest.MiniRedis(t), workerstest.Queue{})
	j, m := s.janitor("a", 100), s.box(nil)
	for n := 1; n <= 3; n++ {
		s.publish(s.conversation("c"), n)
	}
	must(t, j.Look(t.Context()))
	if first, messages := s.inStream(); first != 1 || messages != 3 {
		t.Fatalf("nothing is finished, but the stream begins at %d and holds %d", first, messages)
	}
	for range 3 {
		_, err := m.Handle(t.Context(), t.Context(), s.next())
		must(t, err)
	}
	s.finish()
	must(t, j.Look(t.Context()))
	if _, messages := s.inStream(); messages != 0 {
		t.Errorf("%d messages left", messages)
	}
}

// Values of another type under the janitor's keys, which never expire: purges go on.
func TestJanitorTakesForeignValuesAway(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		for _, key := range []string{contracts.KeyJanitor(contracts.StreamChat), contracts.KeyMark(contracts.StreamChat)} {
			must(t, rdb.SAdd(t.Context(), key, "foreign").Err())
		}
		c := s.conversation("c")
		s.worker(nil)
		for n := 1; n <= 3; n++ {
			s.publish(c, n)
		}
		s.finish()
		j := s.janitor("one", 1)
		workerstest.Eventually(t, "the stream is purged", func() bool {
			must(t, j.Look(t.Context()))
			_, messages := s.inStream()
			return messages == 0
		})
	})
}
