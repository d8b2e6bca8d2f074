package mailbox

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// What is finished, or belongs to no conversation, takes no memory.
func TestTrackForgets(t *testing.T) {
	track := newTrack()
	delivered := func(conversation string, seq uint64) {
		meta := &jetstream.MsgMetadata{NumDelivered: 1}
		meta.Sequence.Consumer, meta.Sequence.Stream = track.latest+1, seq
		track.note(meta, conversation)
	}
	delivered("", 1)
	for seq := uint64(2); seq <= 9; seq++ {
		delivered(string(rune('a'+seq%3)), seq)
	}
	if len(track.open) != 3 {
		t.Fatalf("open: %v", track.open)
	}
	for seq := uint64(2); seq <= 9; seq++ {
		conversation := string(rune('a' + seq%3))
		if !track.isHead(conversation, seq, 1) {
			t.Errorf("%d is not the head: %v", seq, track.open)
		}
		track.finished(conversation, seq)
	}
	if len(track.open) != 0 {
		t.Errorf("still open: %v", track.open)
	}
}
