package mailbox_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
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
