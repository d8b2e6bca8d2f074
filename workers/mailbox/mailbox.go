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
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

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
	// Memory is set: the Outcome.Memory of the message before, which holds them.
	Context [][]byte
	Memory  any
	Epoch   int64
	Attempt int   // 1 for the first
	Run     int64 // the fence: it grows from run to run of one message
	// Raw says that Data has no readable id; ID is then a contracts.DeadID.
	Raw bool
	// TraceID is for log lines; empty when there are no traces.
	TraceID string
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
	// Waiters, for Reply, are inboxes that asked for the answer while it was made.
	Waiters []string
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

// Options of a Mailbox. All are required unless a default is named.
type Options struct {
	Conn   *nats.Conn
	Redis  redis.UniversalClient
	Runner Runner
	Log    zerolog.Logger

	Stream string // the stream that is the mailbox
	Role   string // names the dead-letter subject
	// Keys are the Redis keys of a conversation.
	Keys func(conversation string) contracts.BoxKeys
	// Identify reads a message's id from its bytes, and gives what it made of
	// them to the Runner as Task.Letter.
	Identify func(data []byte) (id string, letter any, err error)
	Sealer   contracts.Sealer
	// Alone says that the broker lives and dies with this process, and that every
	// delivery is shown to Note. Heads are then mostly known without asking.
	Alone bool
	// Urge is called when a conversation has many finished messages in the stream;
	// may be nil.
	Urge func()
	// Look is what is known of the stream at the moment.
	Look func() View

	Window    int // context entries that begin brings; 0: none
	KeepTurns int // context entries kept; default 200
	// Memory is the room for what Runners remember of contexts, in bytes;
	// default 32 MiB, negative: none.
	Memory int

	Lease       time.Duration // default 15s; renewed every third of it
	AckWait     time.Duration // of the consumer; default 30s
	Beat        time.Duration // sign of life of a running message; default a third of AckWait, and no more
	BusyDelay   time.Duration // default 1s, doubled per delivery up to Lease
	CallTimeout time.Duration // of one Redis or NATS call; default 5s
	MaxAttempts int           // default 5; then the message is dead-lettered
	RetryBase   time.Duration // first back-off; default 1s
	RetryMax    time.Duration // longest back-off; default 1m
	RetryFor    time.Duration // total time of retries; default 30m
	MaxKept     int           // finished messages of a conversation left in the stream; default 16

	ContextTTL time.Duration // default 30m
	BoxTTL     time.Duration // default 24h
	DoneTTL    time.Duration // default 24h
	ResultTTL  time.Duration // default 1h

	// Watch is told what happens, for metrics and traces; its zero value hears nothing.
	Watch Watch

	node string

	// Crash, in tests, is called at the named points.
	Crash func(point string)
	// Now is the clock. Default: time.Now.
	Now func() time.Time
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
	track  *track // nil: the stream is asked for every head
	token  atomic.Uint64

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
	m.box = newBox(&m.o)
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
		m.nak(h, m.busyDelay(h.delivered, b.wait))
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

func setDefaults(o *Options) {
	durations := []struct {
		d    *time.Duration
		want time.Duration
	}{
		{&o.Lease, 15 * time.Second}, {&o.AckWait, 30 * time.Second}, {&o.BusyDelay, time.Second},
		{&o.CallTimeout, 5 * time.Second}, {&o.RetryBase, time.Second}, {&o.RetryMax, time.Minute},
		{&o.RetryFor, 30 * time.Minute}, {&o.ContextTTL, 30 * time.Minute}, {&o.BoxTTL, 24 * time.Hour},
		{&o.DoneTTL, 24 * time.Hour}, {&o.ResultTTL, time.Hour},
	}
	for _, d := range durations {
		if *d.d == 0 {
			*d.d = d.want
		}
	}
	numbers := []struct {
		n    *int
		want int
	}{{&o.KeepTurns, 200}, {&o.MaxAttempts, 5}, {&o.MaxKept, 16}, {&o.Memory, 32 << 20}}
	for _, n := range numbers {
		if *n.n == 0 {
			*n.n = n.want
		}
	}
	if o.Beat == 0 {
		o.Beat = o.AckWait / 3
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

func (o *Options) check() error {
	var errs []error
	need := map[string]bool{
		"Conn": o.Conn != nil, "Redis": o.Redis != nil, "Runner": o.Runner != nil, "Stream": o.Stream != "",
		"Role": o.Role != "", "Keys": o.Keys != nil, "Identify": o.Identify != nil, "Sealer": o.Sealer != nil,
		"Look": o.Look != nil,
	}
	for name, given := range need {
		if !given {
			errs = append(errs, fmt.Errorf("%s is required", name))
		}
	}
	if o.Beat*3 > o.AckWait {
		errs = append(errs, fmt.Errorf("beat (%s) must be at most a third of ack wait (%s)", o.Beat, o.AckWait))
	}
	if o.RetryMax < o.RetryBase {
		errs = append(errs, fmt.Errorf("retry max (%s) is below retry base (%s)", o.RetryMax, o.RetryBase))
	}
	return errors.Join(errs...)
}

func (o *Options) firstSeq() uint64 { return o.Look().FirstSeq }
