package mailbox

import (
	"slices"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
)

// track knows which messages were delivered here and are not finished. Where
// every delivery of the consumer comes to this process, that answers the
// question for the head without asking the stream.
//
// Its argument has three parts. A consumer delivers new messages in stream
// order, so whoever has a message was sent every earlier one before, or somebody
// else was. The consumer numbers its deliveries: without a gap nobody else was,
// and nothing got lost on the way. What was delivered before the first of an
// unbroken row lies at or below base, and does not matter once the ack floor has
// passed it.
//
// It needs a broker that never uses a number twice, which one that lost its
// consumer's last state in a crash may do. So it is for the broker that lives
// and dies with this process; elsewhere, and whenever in doubt, the stream is asked.
type track struct {
	mu     sync.Mutex
	latest uint64 // number of the last delivery
	known  bool   // base is known
	base   uint64
	open   map[string][]uint64 // unfinished sequences by conversation, ascending
}

func newTrack() *track { return &track{open: make(map[string][]uint64)} }

// Note is to be told of every delivery, in the order in which they come and
// before any later one is handled.
func (m *Mailbox) Note(d jetstream.Msg) {
	if m.track == nil {
		return
	}
	meta, err := d.Metadata()
	if err != nil {
		m.track.lost()
		return
	}
	conversation, _ := contracts.ConversationOf(d.Subject())
	m.track.note(meta, conversation)
}

func (t *track) note(meta *jetstream.MsgMetadata, conversation string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if meta.Sequence.Consumer != t.latest+1 {
		t.known = false
	}
	t.latest = meta.Sequence.Consumer
	// A message that is delivered for the first time is the newest that ever was.
	if !t.known && meta.NumDelivered == 1 {
		t.known, t.base = true, meta.Sequence.Stream-1
	}
	if conversation == "" {
		return // of no conversation: nothing comes behind it, and nobody would say that it is finished
	}
	open := t.open[conversation]
	if i, found := slices.BinarySearch(open, meta.Sequence.Stream); !found {
		t.open[conversation] = slices.Insert(open, i, meta.Sequence.Stream)
	}
}

func (t *track) lost() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known = false
}

// finished is told of every message that turns out to be done, by whomever.
func (t *track) finished(conversation string, seq uint64) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(conversation, seq, seq)
}

// drop takes what lies from from to upto off the open messages.
func (t *track) drop(conversation string, from, upto uint64) {
	open := t.open[conversation]
	rest := slices.DeleteFunc(open, func(seq uint64) bool { return seq >= from && seq <= upto })
	if len(rest) == 0 {
		delete(t.open, conversation)
		return
	}
	t.open[conversation] = rest
}

// isHead reports whether the message is certainly the first unfinished one of
// its conversation. floor is an ack floor of the same stream.
func (t *track) isHead(conversation string, seq, floor uint64) bool {
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.known || floor < t.base || seq <= floor {
		return false
	}
	t.drop(conversation, 0, floor) // finished by somebody else, or long ago
	open := t.open[conversation]
	return len(open) > 0 && open[0] == seq
}
