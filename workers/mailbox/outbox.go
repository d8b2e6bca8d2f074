package mailbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
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
	_, err = m.publish(ctx, msg, o.ID)
	if err == nil {
		m.count(EventOutStored)
	} else if o.Channel == contracts.ChannelCallback && laneFull(err) {
		return m.overflow(ctx, o, entry, msg.Subject, err)
	}
	return err
}

// laneFull reports whether the broker has no room for more of this subject, while
// it has for others.
func laneFull(err error) bool {
	const storeFailed jetstream.ErrorCode = 10077
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == storeFailed && strings.Contains(api.Description, "per subject")
}

// sendRole names the dead letters of answers.
const sendRole = "deliver"

// overflow moves a callback away for which its conversation has no room: the URL
// is down, for a day at most, and must not close the conversation for all who use
// it otherwise. Users of a chat see their answers in order, so those wait.
func (m *Mailbox) overflow(ctx context.Context, o contracts.Outgoing, entry []byte, subject string, cause error) error {
	why := &contracts.Error{Code: contracts.CodeUndelivered, Message: "too many callbacks of the conversation wait for their URL", Err: cause}
	detail, err := m.o.Sealer.Seal([]byte(why.Error()), contracts.KindDead, o.Conversation, o.ID)
	if err != nil {
		return fmt.Errorf("seal dead letter: %w", err)
	}
	m.o.Log.Error().Str("message_id", o.ID).Msg("callback moved to the dead letters, too many of its conversation wait")
	return m.storeDead(ctx, sendRole, contracts.Dead{
		ID: o.ID, Conversation: o.Conversation, Code: why.Code, Detail: detail, Stream: contracts.StreamSend, Subject: subject, Original: entry,
	}, deadID(sendRole, o.ID))
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
