package ingress

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"moltbot/contracts"
)

// publisher stores messages in the queue.
type publisher struct {
	conn    *nats.Conn
	js      jetstream.JetStream
	sealer  contracts.Sealer
	timeout time.Duration
	repair  func(context.Context) error
	group   *group // nil: every message is published by itself
	alone   loners

	repairing atomic.Bool
	repairs   sync.WaitGroup
	life      context.Context // of repairs; they belong to no request
	end       context.CancelFunc
}

func newPublisher(o *Options) (*publisher, error) {
	js, err := jetstream.New(o.Conn, jetstream.WithDefaultTimeout(o.Publish))
	if err != nil {
		return nil, err
	}
	p := &publisher{
		conn: o.Conn, js: js, sealer: o.Sealer, timeout: o.Publish, repair: o.Repair,
		alone: loners{now: o.Now, until: make(map[string]time.Time)},
	}
	if o.GroupCommit {
		p.group = &group{one: p.try, many: p.batch, hopeless: hopeless, timeout: o.Publish}
	}
	p.life, p.end = context.WithCancel(context.Background())
	return p, nil
}

// close ends a repair that is under way. No publish may come after it.
func (p *publisher) close() {
	p.end()
	p.repairs.Wait()
}

// JetStream's error codes that a publisher meets.
const (
	codeStoreFailed = 10077 // a limit of the stream; the text says which
	codeTooLarge    = 10054
)

// publish stores m and returns once the stream has acknowledged it. known says
// that the stream had it already. repeated says that it was published before.
// Nothing is buffered: without a connection the answer is an error at once.
func (p *publisher) publish(ctx context.Context, m *contracts.Message, repeated bool) (known bool, err error) {
	e, err := p.entry(ctx, m)
	if err != nil {
		return false, err
	}
	if p.group == nil || repeated || p.alone.has(e.conversation) {
		known, err = p.single(ctx, e)
	} else {
		known, err = p.group.store(ctx, e)
	}
	if err != nil {
		return false, p.refused(err, e.conversation)
	}
	return known, nil
}

// publishAlone is publish for a message whose sequence must be known. Of one that
// the stream had already it is the first one's.
func (p *publisher) publishAlone(ctx context.Context, m *contracts.Message) (seq uint64, known bool, err error) {
	e, err := p.entry(ctx, m)
	if err != nil {
		return 0, false, err
	}
	if known, err = p.single(ctx, e); err != nil {
		return 0, false, p.refused(err, e.conversation)
	}
	return e.seq, known, nil
}

func (p *publisher) entry(ctx context.Context, m *contracts.Message) (*entry, error) {
	data, err := contracts.EncodeMessage(*m, p.sealer)
	if err != nil {
		return nil, err
	}
	return &entry{id: m.ID, subject: contracts.SubjectChat(m.Conversation), conversation: m.Conversation, data: data, trace: traceHeader(ctx)}, nil
}

// single stores one message, and tries once more when the outcome is unknown (a
// leader died with the message in flight): the same id again stores it once.
func (p *publisher) single(ctx context.Context, e *entry) (known bool, err error) {
	known, err = p.try(ctx, e)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		known, err = p.try(ctx, e)
	}
	return known, err
}

func (p *publisher) try(ctx context.Context, e *entry) (known bool, err error) {
	if !p.conn.IsConnected() {
		return false, nats.ErrDisconnected
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	ack, err := p.js.PublishMsg(ctx, e.message(), jetstream.WithRetryAttempts(1), jetstream.WithRetryWait(100*time.Millisecond))
	if err != nil {
		return false, err
	}
	e.seq = ack.Sequence
	return ack.Duplicate, nil
}

// batch stores all entries or none. A batch cannot carry an id that the stream
// knows, nor a message for a conversation that is full: it is refused whole.
func (p *publisher) batch(ctx context.Context, entries []*entry) error {
	if !p.conn.IsConnected() {
		return nats.ErrDisconnected
	}
	messages := make([]*nats.Msg, len(entries))
	for i, e := range entries {
		messages[i] = e.message()
	}
	// The commit tells whatever the first message could be told.
	_, err := jetstreamext.PublishMsgBatch(ctx, p.js, messages, jetstreamext.BatchFlowControl{})
	return err
}

// message is made anew for every try: a batch leaves headers in it that a single
// publish must not carry.
func (e *entry) message() *nats.Msg {
	h := make(nats.Header, 3)
	h[jetstream.MsgIDHeader], h[jetstream.ExpectedStreamHeader] = []string{e.id}, []string{contracts.StreamChat}
	for name, values := range e.trace {
		h[name] = values
	}
	return &nats.Msg{Subject: e.subject, Data: e.data, Header: h}
}

// hopeless reports that the queue is away altogether.
func hopeless(err error) bool {
	return errors.Is(err, nats.ErrDisconnected) || errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, jetstream.ErrNoStreamResponse)
}

// refused says what a failed publish means for the client.
func (p *publisher) refused(err error, conversation string) error {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		switch {
		case api.ErrorCode == codeStoreFailed && strings.Contains(api.Description, "per subject"):
			p.alone.add(conversation)
			return &contracts.Error{
				Code: contracts.CodeConversationFull, RetryAfter: full,
				Message: "too many messages of this conversation wait for an answer; try again after Retry-After",
			}
		case api.ErrorCode == codeStoreFailed:
			p.alone.add(everyone)
			return &contracts.Error{
				Code: contracts.CodeQueueFull, RetryAfter: full,
				Message: "the queue is full; try again after Retry-After",
			}
		case api.ErrorCode == codeTooLarge:
			return fail(contracts.CodeTooLarge, "the message is too large")
		}
	}
	if errors.Is(err, nats.ErrMaxPayload) {
		return fail(contracts.CodeTooLarge, "the message is too large")
	}
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		p.mend()
	}
	return &contracts.Error{
		Code: contracts.CodeQueueDown, RetryAfter: full,
		Message: "the message could not be stored; try again after Retry-After",
		Err:     fmt.Errorf("publish: %w", err),
	}
}

// mend makes a missing stream again, beside the request and one at a time.
func (p *publisher) mend() {
	if p.repair == nil || !p.repairing.CompareAndSwap(false, true) {
		return
	}
	p.repairs.Go(func() {
		defer p.repairing.Store(false)
		ctx, cancel := context.WithTimeout(p.life, 10*time.Second)
		defer cancel()
		_ = p.repair(ctx) // logs what it did; the next publish meets the result
	})
}
