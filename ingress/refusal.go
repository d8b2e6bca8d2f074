package ingress

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
)

// refuse answers a message for which the conversation has no room, without a
// worker: a platform that hears 429 brings later what others wrote in between, or
// never. The answer goes to SEND under the message's id, so that it is said once.
//
// The message is not marked as done, which only the holder of the conversation may
// do. If the platform never hears our 200 and repeats the message when there is
// room, it is stored and becomes a turn; its answer has the same id, which SEND and
// the record of deliveries know, and is not sent as well.
func (in *Ingress) refuse(ctx context.Context, a *accepted, text string) error {
	m := &a.message
	data := contracts.EncodeAnswer(contracts.Answer{
		ID: m.ID, Caller: m.Caller, RequestID: m.RequestID, Accepted: m.Accepted, Text: text, Origin: m.Origin,
		Result: contracts.Failed(*m, contracts.CodeConversationFull, text, in.o.Now()),
	})
	sealed, err := in.o.Sealer.Seal(data, contracts.KindSend, m.Conversation, m.ID)
	if err != nil {
		return fmt.Errorf("seal refusal: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), in.o.Publish)
	defer cancel()
	return in.publish.send(ctx, contracts.Outgoing{ID: m.ID, Conversation: m.Conversation, Channel: m.Channel, Data: sealed})
}

// send stores an answer in SEND and returns once the stream has acknowledged it.
func (p *publisher) send(ctx context.Context, o contracts.Outgoing) error {
	data, err := contracts.EncodeOutgoing(o)
	if err != nil {
		return fmt.Errorf("encode refusal: %w", err)
	}
	err = nats.ErrDisconnected
	if p.conn.IsConnected() {
		_, err = p.js.PublishMsg(ctx, &nats.Msg{Subject: contracts.SubjectSend(o.Channel, o.Conversation), Data: data, Header: nats.Header{
			jetstream.MsgIDHeader: []string{o.ID}, jetstream.ExpectedStreamHeader: []string{contracts.StreamSend},
		}}, jetstream.WithRetryAttempts(1), jetstream.WithRetryWait(100*time.Millisecond))
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		p.mend()
	}
	return &contracts.Error{
		Code: contracts.CodeQueueDown, RetryAfter: full,
		Message: "the refusal could not be stored; try again after Retry-After", Err: fmt.Errorf("publish refusal: %w", err),
	}
}
