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
		waiting int // pulls that nothing was there for
		urgent  bool
	}{
		"empty stream":             {stream: jetstream.StreamState{FirstSeq: 11, LastSeq: 10}, floor: 10},
		"nothing finished":         {stream: state(11, 20), floor: 10},
		"idle":                     {stream: state(11, 20), floor: 20, want: true},
		"one finished, idle":       {stream: state(11, 20), floor: 11, want: true},
		"busy, few finished":       {stream: state(11, 100), floor: 59, pending: 1},
		"busy, many finished":      {stream: state(11, 100), floor: 60, pending: 1, want: true},
		"busy, a worker waits":     {stream: state(11, 100), floor: 59, pending: 1, waiting: 1, want: true},
		"busy, a lively talk":      {stream: state(11, 100), floor: 59, pending: 1, urgent: true, want: true},
		"urgent, nothing finished": {stream: state(11, 20), floor: 10, urgent: true},
		"floor of another stream":  {stream: state(11, 20), floor: 21, urgent: true},
		"rolled back, high floor":  {stream: state(1, 5), floor: 500, pending: 3, waiting: 1},
		"busy, only others behind": {stream: state(11, 500), floor: 11, pending: 400},
	} {
		t.Run(name, func(t *testing.T) {
			info := &jetstream.ConsumerInfo{NumAckPending: c.pending, NumWaiting: c.waiting, AckFloor: jetstream.SequenceInfo{Stream: c.floor}}
			if got := j.due(c.stream, info, c.urgent); got != c.want {
				t.Errorf("due = %v, want %v", got, c.want)
			}
		})
	}
}
