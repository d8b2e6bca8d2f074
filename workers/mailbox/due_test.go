package mailbox

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// A purge makes the broker forget redeliveries (TestPurgeDelaysWhatWasGivenBack),
// so it is put off while something is pending, but not for ever.
func TestWhenAPurgeIsDue(t *testing.T) {
	j := NewJanitor(JanitorOptions{MaxFinished: 100})
	state := func(first, last uint64) jetstream.StreamState {
		return jetstream.StreamState{Msgs: last + 1 - first, FirstSeq: first, LastSeq: last}
	}
	for name, c := range map[string]struct {
		stream  jetstream.StreamState
		floor   uint64
		pending int
		want    bool
	}{
		"empty stream":             {jetstream.StreamState{FirstSeq: 11, LastSeq: 10}, 10, 0, false},
		"nothing finished":         {state(11, 20), 10, 0, false},
		"idle":                     {state(11, 20), 20, 0, true},
		"one finished, idle":       {state(11, 20), 11, 0, true},
		"busy, few finished":       {state(11, 100), 59, 1, false},
		"busy, many finished":      {state(11, 100), 60, 1, true},
		"floor of another stream":  {state(11, 20), 21, 0, false},
		"rolled back, high floor":  {state(1, 5), 500, 3, false},
		"busy, only others behind": {state(11, 500), 11, 400, false},
	} {
		t.Run(name, func(t *testing.T) {
			info := &jetstream.ConsumerInfo{NumAckPending: c.pending, AckFloor: jetstream.SequenceInfo{Stream: c.floor}}
			if got := j.due(c.stream, info); got != c.want {
				t.Errorf("due = %v, want %v", got, c.want)
			}
		})
	}
}
