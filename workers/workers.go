// Package workers answers the messages in the stream: a pool of slots pulls
// deliveries, the mailbox puts them in order, a turn asks the model, and the
// reply goes back to whoever waits. It accepts nothing from outside.
package workers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"

	"moltbot/contracts"
	"moltbot/workers/deliver"
	"moltbot/workers/mailbox"
	"moltbot/workers/model"
	"moltbot/workers/prompt"
	"moltbot/workers/session"
)

// Options of the workers. What has no default is required.
type Options struct {
	Node   string // unique among all processes
	Conn   *nats.Conn
	Redis  redis.UniversalClient
	Sealer contracts.Sealer
	Store  *session.Store
	Models Models
	Prompt *prompt.Builder
	Log    zerolog.Logger
	// Here takes a reply if subject is the inbox of an ingress in this process,
	// which spares the way over NATS. Default: there is none.
	Here func(subject string, reply contracts.Reply) bool
	// HereDelta is the same for a piece of an answer.
	HereDelta func(subject string, d contracts.Delta) bool
	// Consumer finds the consumer of StreamChat, and makes it again where it is missing.
	Consumer func(context.Context) (jetstream.Consumer, error)

	Slots    int           // messages at a time in this process; default 64
	SoftStop time.Duration // time to finish what runs at shutdown; default 25s

	// Alone says that NATS runs in this process and nobody else reaches it.
	Alone bool
	// Mailbox holds the waits and limits of the mailbox; what connects it is set here.
	Mailbox     mailbox.Options
	PurgeEvery  time.Duration // default 250ms
	MaxFinished uint64        // finished messages left in the stream; default 25000

	// Delivery says how answers go out to IM platforms and callback URLs.
	Delivery Delivery
	// Senders speak to those, by channel.
	Senders map[contracts.Channel]deliver.Sender
	// MaxAge is how old a user's message on an IM platform may be to be answered; 0:
	// any age. Default: any age.
	MaxAge func(c contracts.Channel, app string) time.Duration

	// Chores takes what is to be summarized; nil: nothing is. SummarizeAfter is how
	// many turns must have fallen out of a prompt before; default 5.
	Chores         Chores
	SummarizeAfter int

	// Media fetches the images of messages; nil: no model gets to see any. Signs
	// shows that a message was received; nil: nothing is shown.
	Media Media
	Signs Signs

	// Metrics takes the role's metrics; nil: nobody reads them.
	Metrics prometheus.Registerer
	// Traces makes the spans; nil: there are none.
	Traces trace.TracerProvider
}

// Models chooses who answers a message. An error it gives is final for the
// message unless it is contracts.Retryable.
type Models interface {
	Choose(m contracts.Message) (model.Choice, error)
	// Names lists those that a user may choose from, in order. The slice is the caller's.
	Names() []string
}

// Workers is the role.
type Workers struct {
	o       Options
	pool    *pool
	janitor *mailbox.Janitor
	deliver *delivery // nil: no answers go out here
	replies *replies
	notes   *notes
	summary *summaries // nil: none
	signs   *signs     // nil: none
}

// New checks o and wires the role. It opens nothing.
func New(o Options) (*Workers, error) {
	setDefaults(&o)
	if o.Models == nil || o.Prompt == nil || o.Store == nil || o.Consumer == nil {
		return nil, errors.New("workers options: Models, Prompt, Store and Consumer are required")
	}
	if o.Slots < 0 || o.SoftStop < 0 || o.SummarizeAfter < 0 {
		return nil, errors.New("workers options: Slots, SoftStop and SummarizeAfter must not be negative")
	}
	w := &Workers{o: o, replies: newReplies(o.Conn, o.Log), notes: newNotes(&o)}
	w.replies.here, w.replies.hereDelta, w.replies.sealer = o.Here, o.HereDelta, o.Sealer
	w.janitor = mailbox.NewJanitor(mailbox.JanitorOptions{
		Conn: o.Conn, Redis: o.Redis, Log: o.Log, Node: o.Node, Stream: contracts.StreamChat,
		Consumer: contracts.ConsumerChat, Every: o.PurgeEvery, MaxFinished: o.MaxFinished,
	})
	mo := o.Mailbox
	mo.Conn, mo.Redis, mo.Log, mo.Sealer = o.Conn, o.Redis, o.Log, o.Sealer
	mo.Stream, mo.Role, mo.Keys = contracts.StreamChat, "workers", contracts.ChatKeys
	mo.Alone = o.Alone
	mo.Window += stoppedKept
	mo.Identify, mo.Look, mo.Urge = identify, w.janitor.View, w.janitor.Urge
	counts := newMetrics(o.Metrics, time.Now)
	w.replies.metrics = counts
	outcomes := deliver.NewMetrics(o.Metrics)
	run := &turn{
		maxAge: o.MaxAge, outcomes: outcomes,
		sealer: o.Sealer, store: o.Store, prompt: o.Prompt, models: o.Models,
		replies: w.replies, window: mo.Window, now: time.Now, log: o.Log, metrics: counts,
	}
	var err error
	if run.media, err = newMedia(o.Media, o.Log, o.Metrics); err != nil {
		return nil, err
	}
	w.signs = newSigns(o.Signs, o.Log, o.Metrics)
	run.signs = w.signs
	w.summary = newSummaries(&o, counts)
	mo.Committed = each(w.notes.committed, w.summary.committed, o.Mailbox.Committed)
	mo.Watch = mailbox.Watch{Count: counts.count, Ended: counts.ended}
	if o.Traces != nil {
		run.tracer = o.Traces.Tracer(tracerName)
		mo.Watch.Tracer = run.tracer
	}
	mo.Runner, mo.Unstoppable, mo.Busy = run, run.unstoppable, run.busy
	box, err := mailbox.New(o.Node, mo)
	if err != nil {
		return nil, err
	}
	w.replies.stops = box.Stop
	w.pool = &pool{
		gate: newGate(o.Slots), settler: box, consumer: o.Consumer, healthy: w.Healthy,
		softStop: o.SoftStop, log: o.Log, settled: counts.settled,
	}
	counts.pool(o.Metrics, w.pool)
	w.deliver, err = newDelivery(&o, outcomes, w.Healthy)
	return w, err
}

// Run works until ctx ends, then drains: what runs gets SoftStop to finish.
func (w *Workers) Run(ctx context.Context) error {
	sub, err := w.replies.listen()
	if err != nil {
		return fmt.Errorf("listen for attach requests: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection is closed next anyway
	cancels, err := w.replies.listenCancel()
	if err != nil {
		return fmt.Errorf("listen for cancel requests: %w", err)
	}
	defer func() { _ = cancels.Unsubscribe() }()
	w.awaitQueue(ctx, w.janitor, w.o.Consumer)
	stopDelivery := w.deliver.start(ctx, w.awaitQueue)
	tidying, stopTidying := context.WithCancel(context.WithoutCancel(ctx))
	tidied := make(chan error, 1)
	go func() { tidied <- w.janitor.Run(tidying) }()
	noted := make(chan struct{})
	go func() { defer close(noted); w.notes.run(tidying) }()
	stopSummaries, stopSigns := w.summary.start(), w.signs.start()
	w.o.Log.Info().Int("slots", w.o.Slots).Msg("workers ready")
	err = w.pool.run(ctx)
	stopDelivery() // what was just committed may still be sent
	stopSummaries()
	stopSigns()
	stopTidying()
	<-noted
	return errors.Join(err, <-tidied)
}

// awaitQueue waits until a stream and the store were looked at once.
func (w *Workers) awaitQueue(ctx context.Context, j *mailbox.Janitor, consumer func(context.Context) (jetstream.Consumer, error)) {
	for err := j.Look(ctx); err != nil && ctx.Err() == nil; err = j.Look(ctx) {
		w.o.Log.Warn().Err(err).Msg("the queue or the store is not ready")
		if _, err := consumer(ctx); err != nil {
			w.o.Log.Warn().Err(err).Msg("the queue could not be made again")
		}
		pause(ctx, retryFetch)
	}
}

// Healthy is nil when the queue answers and the store takes writes.
func (w *Workers) Healthy(ctx context.Context) error {
	if !w.o.Conn.IsConnected() {
		return &contracts.Error{Code: contracts.CodeQueueDown, Message: "not connected to NATS", Retryable: true}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := w.o.Redis.Set(ctx, contracts.KeyProbe(), "", time.Minute).Err(); err != nil {
		return &contracts.Error{Code: contracts.CodeStoreDown, Message: "Redis takes no writes", Retryable: true, Err: err}
	}
	return nil
}

// Fetching is nil while the pools take messages, or would with a free slot.
func (w *Workers) Fetching(context.Context) error {
	if w.pool.fetches.Load() && w.deliver.fetching() {
		return nil
	}
	return &contracts.Error{Code: contracts.CodeQueueDown, Message: "does not fetch", Retryable: true}
}

// SetSlots changes how many messages this process runs at a time; 0 pauses.
// Shrinking cuts nothing: what runs is finished, what a fetch still brings is
// given back, and no slot goes on with the next message of its conversation.
func (w *Workers) SetSlots(n int) { w.pool.resize(max(0, n)) }

// Slots gives the limit and how many deliveries are being worked on.
func (w *Workers) Slots() (limit, running int) { return w.pool.gate.size(), int(w.pool.busy.Load()) }

// SetDeliverySlots is SetSlots for answers on their way out.
func (w *Workers) SetDeliverySlots(n int) {
	if w.deliver != nil {
		w.deliver.pool.resize(max(0, n))
	}
}

// DeliverySlots is Slots for answers on their way out; ok says that they go out here.
func (w *Workers) DeliverySlots() (limit, running int, ok bool) {
	if w.deliver == nil {
		return 0, 0, false
	}
	return w.deliver.pool.gate.size(), int(w.deliver.pool.busy.Load()), true
}

func setDefaults(o *Options) {
	if o.Slots == 0 {
		o.Slots = 64
	}
	if o.SoftStop == 0 {
		o.SoftStop = 25 * time.Second
	}
	if o.PurgeEvery == 0 {
		o.PurgeEvery = 250 * time.Millisecond
	}
	if o.MaxFinished == 0 {
		o.MaxFinished = 25000
	}
	if o.SummarizeAfter == 0 {
		o.SummarizeAfter = 5
	}
	if o.Mailbox.Window == 0 {
		o.Mailbox.Window = 10
	}
}
