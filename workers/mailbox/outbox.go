package mailbox

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
)

// flush stores outbox entries in SEND and then clears them. It is called while
// the lease is held and before anything else of the conversation happens, so a
// reply is never lost between commit and SEND and never overtaken by the next.
func (m *Mailbox) flush(ctx context.Context, h *holding, entries [][]byte) error {
	if len(entries) == 0 {
		return nil
	}
	for _, e := range entries {
		if err := m.send(ctx, h, e); err != nil {
			return err
		}
	}
	m.crash("outbox stored")
	return m.box.clear(ctx, h, entries)
}

// flushStored flushes what a commit has just added.
func (m *Mailbox) flushStored(ctx context.Context, h *holding) error {
	entries, err := m.box.outbox(ctx, h)
	if err != nil {
		return err
	}
	return m.flush(ctx, h, entries)
}

func (m *Mailbox) send(ctx context.Context, h *holding, entry []byte) error {
	o, err := contracts.DecodeOutgoing(entry)
	if err != nil || o.Conversation != h.conversation {
		// Nobody but a commit writes here. Keep it visible instead of closing the conversation for ever.
		m.o.Log.Error().Err(err).Str("conversation", h.conversation).Msg("outbox entry cannot be read, moved to the dead letters")
		return m.publishDead(ctx, contracts.Dead{
			ID: h.ownID, Conversation: h.conversation, Code: contracts.CodeDead, Subject: h.subject, Original: entry,
		}, fmt.Sprintf("outbox-%s-%x", h.conversation, h.fence))
	}
	msg := &nats.Msg{Subject: contracts.SubjectSend(o.Channel, o.Conversation), Data: entry}
	if _, err = m.publish(ctx, msg, o.ID); err == nil {
		m.count(EventOutStored)
	}
	return err
}

// publish stores msg under id and returns once the broker has acknowledged it.
func (m *Mailbox) publish(ctx context.Context, msg *nats.Msg, id string) (*jetstream.PubAck, error) {
	ctx, cancel := context.WithTimeout(ctx, m.o.CallTimeout)
	defer cancel()
	ack, err := m.js.PublishMsg(ctx, msg, jetstream.WithMsgID(id))
	if err != nil {
		return nil, queueError("store in "+msg.Subject, err)
	}
	return ack, nil
}

// holdOutbox closes the conversation for a while because SEND refuses: nothing
// of it may happen before its reply is stored.
func (m *Mailbox) holdOutbox(h *holding, t Task, cause error) (Handled, error) {
	ctx, cancel := context.WithTimeout(context.Background(), m.o.CallTimeout)
	defer cancel()
	m.count(EventOutHeld)
	wait := m.backoff(1, cause)
	m.o.Log.Warn().Err(cause).Str("message_id", t.ID).Dur("retry_in", wait).Msg("reply not stored for delivery, trying again")
	if err := m.box.hold(ctx, h, t.ID, wait, true, failures{}); err != nil {
		m.o.Log.Debug().Err(err).Str("conversation", h.conversation).Msg("lease left to run out")
	}
	m.nak(h, wait+time.Millisecond)
	return HandledHeld, nil
}

// handle is the stream's handle, made on first use.
func (m *Mailbox) handle(ctx context.Context) (jetstream.Stream, error) {
	if s := m.stream.Load(); s != nil {
		return *s, nil
	}
	s, err := m.js.Stream(ctx, m.o.Stream)
	if err != nil {
		return nil, queueError("look up stream", err)
	}
	m.stream.Store(&s)
	return s, nil
}
