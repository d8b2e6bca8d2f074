package mailbox_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

// A fact of nats-server 2.15 that the janitor has to live with: a purge empties
// the consumer's redelivery queue (consumer.purge keeps only sequences that were
// never delivered), so what was given back and not yet fetched again comes after
// the ack wait instead of at once. When this test fails, the server was mended.
func TestPurgeDelaysWhatWasGivenBack(t *testing.T) {
	s := newStage(t, workerstest.MiniRedis(t), workerstest.Queue{AckWait: time.Second})
	c := s.conversation("c")
	s.publish(c, 1)
	s.publish(c, 2)
	first, second := s.next(), s.next()
	must(t, first.DoubleAck(t.Context()))
	must(t, second.Nak())
	must(t, s.nc.Flush())
	st, err := s.js.Stream(t.Context(), contracts.StreamChat)
	must(t, err)
	must(t, st.Purge(t.Context(), jetstream.WithPurgeSequence(2)))
	if _, messages := s.inStream(); messages != 1 {
		t.Fatalf("the stream holds %d messages", messages)
	}
	batch, err := s.consumer().Fetch(1, jetstream.FetchMaxWait(200*time.Millisecond))
	must(t, err)
	for range batch.Messages() {
		t.Error("a purge does not delay redeliveries any more")
	}
	again := s.next() // nothing is lost
	must(t, again.DoubleAck(t.Context()))
}

// A fact of nats-server 2.15 that newest exists for: when nothing is left at or
// behind the sequence of a purge because the messages there were deleted one by
// one, the next purge takes a message along that was stored in between. When this
// test fails, the server was mended.
func TestPurgeBehindADeletedTail(t *testing.T) {
	s := newStage(t, workerstest.MiniRedis(t), workerstest.Queue{})
	st, err := s.js.Stream(t.Context(), contracts.StreamChat)
	must(t, err)
	for n := 1; n <= 3; n++ {
		s.publish(s.conversation("c"), n)
		must(t, s.next().DoubleAck(t.Context()))
	}
	purge := func(upto uint64) {
		must(t, st.Purge(t.Context(), jetstream.WithPurgeSequence(upto)))
	}
	must(t, st.DeleteMsg(t.Context(), 3))
	purge(3) // by a floor of a moment ago: 2
	s.publish(s.conversation("c"), 4)
	purge(4)
	if _, messages := s.inStream(); messages != 0 {
		t.Error("a message that was stored behind a deleted one survives the purge")
	}
}

// What a worker deletes by itself leaves the stream as a purge needs it.
func TestTheLastMessageIsNotDeletedByItself(t *testing.T) {
	s := newStage(t, workerstest.MiniRedis(t), workerstest.Queue{})
	st, err := s.js.Stream(t.Context(), contracts.StreamChat)
	must(t, err)
	m := s.box(nil, func(o *mailbox.Options) { o.MaxKept = 1 })
	const last = 5
	for n := 1; n <= last; n++ {
		s.publish(s.conversation("c"), n)
		if h, err := m.Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledDone {
			t.Fatalf("ends as %s, %v", h, err)
		}
	}
	if _, messages := s.inStream(); messages != 2 {
		t.Errorf("%d messages are kept, not the one that may be and the last", messages)
	}
	must(t, st.Purge(t.Context(), jetstream.WithPurgeSequence(last))) // by a floor of a moment ago
	s.publish(s.conversation("c"), last+1)
	must(t, st.Purge(t.Context(), jetstream.WithPurgeSequence(last+1)))
	if _, messages := s.inStream(); messages != 1 {
		t.Fatal("a message is lost that was stored and not finished")
	}
	if h, err := m.Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledDone {
		t.Errorf("ends as %s, %v", h, err)
	}
}
