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

	"moltbot/contracts"
)

// publisher stores messages in the queue.
type publisher struct {
	conn    *nats.Conn
	js      jetstream.JetStream
	sealer  contracts.Sealer
	timeout time.Duration
	repair  func(context.Context) error

	repairing atomic.Bool
	repairs   sync.WaitGroup
	life      context.Context // of repairs; they belong to no request
	end       context.CancelFunc
}

func newPublisher(conn *nats.Conn, sealer contracts.Sealer, timeout time.Duration, repair func(context.Context) error) (*publisher, error) {
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(timeout))
	if err != nil {
		return nil, err
	}
	p := &publisher{conn: conn, js: js, sealer: sealer, timeout: timeout, repair: repair}
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
// that the stream had it already. Nothing is buffered: without a connection the
// answer is an error at once.
func (p *publisher) publish(ctx context.Context, m contracts.Message) (known bool, err error) {
	data, err := contracts.EncodeMessage(m, p.sealer)
	if err != nil {
		return false, err
	}
	msg := &nats.Msg{Subject: contracts.SubjectChat(m.Conversation), Data: data, Header: traceHeader(ctx)}
	ack, err := p.try(ctx, msg, m.ID)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		// The outcome is unknown (a leader died with the message in flight). The
		// same id again stores it once, whatever became of the first.
		ack, err = p.try(ctx, msg, m.ID)
	}
	if err != nil {
		return false, p.refused(err)
	}
	return ack.Duplicate, nil
}

func (p *publisher) try(ctx context.Context, msg *nats.Msg, id string) (*jetstream.PubAck, error) {
	if !p.conn.IsConnected() {
		return nil, nats.ErrDisconnected
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	return p.js.PublishMsg(ctx, msg, jetstream.WithMsgID(id), jetstream.WithExpectStream(contracts.StreamChat),
		jetstream.WithRetryAttempts(1), jetstream.WithRetryWait(100*time.Millisecond))
}

// refused says what a failed publish means for the client.
func (p *publisher) refused(err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		switch {
		case api.ErrorCode == codeStoreFailed && strings.Contains(api.Description, "per subject"):
			return &contracts.Error{
				Code: contracts.CodeConversationFull, RetryAfter: full,
				Message: "too many messages of this conversation wait for an answer; try again after Retry-After",
			}
		case api.ErrorCode == codeStoreFailed:
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
