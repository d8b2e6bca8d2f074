// Package mailbox runs the messages of each conversation in stream order, one
// at a time and once, whatever number of processes share the stream. It never
// looks inside a message: what a message means is the Runner's.
//
// The stream is the mailbox. A delivery means "look at this conversation", not
// "run me": begin takes the conversation's lease, head reads its first
// unfinished message from the stream, commit finishes it in one step in Redis.
// Only the done key says that a message is finished.
package mailbox

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
)

// Task is one message at the head of its conversation, to be run alone.
type Task struct {
	ID           string
	Conversation string
	Subject      string
	Sequence     uint64
	Data         []byte // as published
	Letter       any    // what Identify made of Data
	// Context is the newest Window entries of the conversation's context, unless
	// Memory is set: the Outcome.Memory of the message before. Of what that holds the
	// newest Known entries are still in the context, or all.
	Context [][]byte
	Memory  any
	Known   int
	// Summary stands for what left the context; it comes with Context.
	Summary []byte
	// Note is what an earlier Outcome.Note left.
	Note    string
	Epoch   int64
	Attempt int   // 1 for the first
	Run     int64 // the fence: it grows from run to run of one message
	// Undone, for Fail, is what a run made before the user stopped the message.
	Undone *Outcome
	// Raw says that Data has no readable id; ID is then a contracts.DeadID.
	Raw bool
	// TraceID is for log lines; empty when there are no traces.
	TraceID string
}

func (t *Task) hadContext() bool {
	return t.Memory != nil || len(t.Context) > 0 || len(t.Summary) > 0
}

// Outcome is what finishes a message.
type Outcome struct {
	Turn   []byte // appended to the context unless the session was reset meanwhile; may be nil
	Result []byte // parked for whoever asks
	Out    []byte // contracts.Outgoing, stored in SEND before anything else happens; may be nil
	// Memory is what the next message of the conversation finds as Task.Memory if
	// the context is still as this outcome leaves it; nothing may change it any
	// more. Nil: nothing. MemorySize is what it takes, in bytes.
	Memory     any
	MemorySize int
	// Reset forgets context and summary in this commit: the next message begins
	// with neither, whatever ran meanwhile. There is no Turn then.
	Reset bool
	// Note, unless nil, is kept for the messages behind this one.
	Note *string
	// Trail names, in one short word, what else was made of the message, for
	// whoever erases the conversation; may be empty.
	Trail string
	// Waiters, for Reply, are inboxes that asked for the answer while it was made.
	Waiters []string
	// Unstopped says that a stop which came meanwhile does not undo it.
	Unstopped bool
	// failed says that it came from Fail.
	failed bool
}

// Runner gives messages their meaning.
type Runner interface {
	// Run does the work. An error that is contracts.Retryable is tried again
	// after a back-off; a final contracts.Error finishes the message through
	// Fail; any other error or panic counts as an attempt.
	Run(ctx context.Context, t Task) (Outcome, error)
	// Fail is the outcome of a message that gets no answer. It must not fail.
	Fail(t Task, err *contracts.Error) Outcome
	// Reply hands the parked result to whoever waits. It may be called again
	// for the same message, and it must not block for long.
	Reply(ctx context.Context, t Task, o Outcome)
}

// View is what a worker knows of the stream, from a moment ago.
type View struct {
	Created time.Time
	// Rewound counts how often the stream was found to have gone back in time,
	// because its store was restored from a copy.
	Rewound  int64
	FirstSeq uint64
	// Floor is the consumer's ack floor: what lies at or below it is finished,
	// because only finished messages are acknowledged. Connects are the
	// connection's reconnects when it was read; after another one it is void.
	Floor    uint64
	Connects uint64
	// Crowded says that finished messages fill the stream, so that each is
	// deleted at once instead of waiting for the purge.
	Crowded bool
}

// life names the stream's present life: a recreated or rewound stream uses
// sequences again, and those of an earlier life say nothing about it.
func (v View) life() int64 { return v.Created.UnixNano() + v.Rewound }

// Mailbox turns deliveries into runs.
type Mailbox struct {
	o      Options
	js     jetstream.JetStream
	box    *box
	memory *memory
	stops  *stops
	track  *track // nil: the stream is asked for every head
	token  atomic.Uint64
	newest newest

	lookup lookup
	// stream is the handle for deletes, made on first use.
	stream atomic.Pointer[jetstream.Stream]
}

// New checks o and makes a Mailbox. node must be unique among all processes.
func New(node string, o Options) (*Mailbox, error) {
	setDefaults(&o)
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("mailbox options: %w", err)
	}
	js, err := jetstream.New(o.Conn, jetstream.WithDefaultTimeout(o.CallTimeout))
	if err != nil {
		return nil, fmt.Errorf("mailbox: %w", err)
	}
	o.node = node
	m := &Mailbox{o: o, js: js, lookup: gets{conn: o.Conn, stream: o.Stream, timeout: o.CallTimeout}}
	m.box, m.stops = newBox(&m.o), newStops(o.Now)
	if o.Alone {
		m.track = newTrack()
	}
	m.memory, err = newMemory(o.Memory)
	return m, err
}

// Handled is how a delivery ended.
type Handled string

// The ends of a delivery; they are also metric labels.
const (
	HandledDone     Handled = "done"     // acknowledged: finished, now or before
	HandledBusy     Handled = "busy"     // somebody else has the conversation
	HandledHeld     Handled = "held"     // failed, tried again after a back-off
	HandledGiven    Handled = "given"    // given back: shutdown, or a dependency is down
	HandledRefused  Handled = "refused"  // somebody else took the fence; they settle it
	HandledDeadRaw  Handled = "dead_raw" // no conversation could be read from the subject
	HandledNotFound Handled = "gone"     // the message is not in the stream any more
)

// AllHandled lists every end of a delivery.
func AllHandled() []Handled {
	return []Handled{HandledDone, HandledBusy, HandledHeld, HandledGiven, HandledRefused, HandledDeadRaw, HandledNotFound}
}

// Handle settles one delivery exactly once. When take ends, the running message
// is finished and no further one is begun; when work ends, it is given back. An
// error means that a dependency is down and fetching more makes no sense.
func (m *Mailbox) Handle(take, work context.Context, d jetstream.Msg) (Handled, error) {
	meta, err := d.Metadata()
	if err != nil {
		return HandledGiven, fmt.Errorf("read delivery: %w", err)
	}
	conversation, ok := contracts.ConversationOf(d.Subject())
	if !ok {
		return m.buryRaw(work, d, meta)
	}
	h := &holding{
		conversation: conversation, subject: d.Subject(), token: m.newToken(),
		created: m.o.Look().life(), connects: m.o.Conn.Stats().Reconnects, own: &message{seq: meta.Sequence.Stream, at: meta.Timestamp, data: d.Data(), header: d.Headers()},
		delivery: d, delivered: meta.NumDelivered, began: m.o.Now(),
	}
	m.newest.saw(h.created, h.own.seq)
	if h.delivered > 1 {
		m.count(EventRedelivered)
	}
	m.identify(h, h.own)
	h.ownID, h.known = h.own.id, m.memory.of(conversation)
	return m.begin(take, work, h)
}

// begin takes the conversation or leaves word, and settles what needs no lease.
func (m *Mailbox) begin(take, work context.Context, h *holding) (Handled, error) {
	b, err := m.box.begin(work, wakeup{
		conversation: h.conversation, id: h.ownID, seq: h.own.seq, created: h.created, token: h.token, version: h.known.version,
	})
	if err != nil {
		m.nak(h, m.o.BusyDelay)
		return HandledGiven, err
	}
	switch b.state {
	case stateFinished:
		m.track.finished(h.conversation, h.own.seq)
		m.replyAgain(work, h)
		m.ack(h)
		return HandledDone, nil
	case stateBusy:
		wait := m.busyDelay(h.delivered, b.wait)
		if m.o.Busy != nil && m.o.Busy(work, m.task(h, h.own), h.created) {
			wait = 0
		}
		m.nak(h, wait)
		return HandledBusy, nil
	}
	m.crash("begun")
	h.fence, h.last, h.want, h.stop = b.fence, b.last, b.want, b.stop
	h.first = &b
	return m.hold(take, work, h)
}

// busyDelay is how long a delivery stays away from a conversation that somebody
// has. Only a safety net: the holder comes to the message by itself. It is no
// longer than the lease has left, so a dead holder is noticed at once.
func (m *Mailbox) busyDelay(delivered uint64, lease time.Duration) time.Duration {
	d := m.o.BusyDelay << min(delivered, 6) >> 1
	if lease > 0 {
		d = min(d, lease+5*time.Millisecond)
	}
	return d + rand.N(d/10+time.Millisecond)
}

func (m *Mailbox) newToken() string {
	return fmt.Sprintf("%s-%x", m.o.node, m.token.Add(1))
}

// identify names a message, once.
func (m *Mailbox) identify(h *holding, msg *message) {
	if msg.id != "" {
		return
	}
	id, letter, err := m.o.Identify(msg.data)
	parsed, err2 := contracts.ParseID(id)
	if err != nil || err2 != nil || parsed.Conversation != h.conversation {
		msg.id, msg.raw = contracts.DeadID(m.o.Stream, h.created, msg.seq), true
		return
	}
	msg.id, msg.letter = id, letter
}

// replyAgain answers a waiter of a message that was finished earlier: the
// worker that finished it may have died before it could.
func (m *Mailbox) replyAgain(ctx context.Context, h *holding) {
	result, err := m.box.result(ctx, h.conversation, h.ownID)
	if err != nil || result == nil {
		return // nothing is lost: whoever asks for the result finds it, or finds it expired
	}
	m.o.Runner.Reply(ctx, m.task(h, h.own), Outcome{Result: result})
}

func (m *Mailbox) task(h *holding, msg *message) Task {
	return Task{
		ID: msg.id, Conversation: h.conversation, Subject: h.subject, Sequence: msg.seq, Data: msg.data, Letter: msg.letter, Raw: msg.raw, Run: h.fence,
	}
}

// ack settles the delivery as finished. A lost ack is harmless: the message
// comes again, its done key is found, and it is acknowledged then.
func (m *Mailbox) ack(h *holding) {
	if h.settled {
		return
	}
	h.settled = true
	if !m.sameMessage(h) {
		return // it comes again if it is there
	}
	if err := h.delivery.Ack(); err != nil {
		m.o.Log.Debug().Err(err).Str("conversation", h.conversation).Msg("ack not sent")
	}
}

// sameMessage guards an ack against a stream that was recreated or restored
// since the delivery: the broker goes by the sequence alone, and would drop the
// message that has it now.
func (m *Mailbox) sameMessage(h *holding) bool {
	if m.o.Conn.Stats().Reconnects == h.connects && m.o.Look().life() == h.created {
		return true
	}
	msg, err := m.lookup.leader(context.Background(), h.subject, h.own.seq)
	return err == nil && msg.seq == h.own.seq && msg.at.Equal(h.own.at)
}

// nak gives the delivery back, to come again after wait.
func (m *Mailbox) nak(h *holding, wait time.Duration) {
	if h.settled {
		return
	}
	h.settled = true
	if err := h.delivery.NakWithDelay(wait); err != nil {
		m.o.Log.Debug().Err(err).Str("conversation", h.conversation).Msg("nak not sent")
	}
}

func (m *Mailbox) crash(point string) {
	if m.o.Crash != nil {
		m.o.Crash(point)
	}
}
