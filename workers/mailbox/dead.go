package mailbox

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
)

// bury writes the dead letter of t. It is stored before the message is finished,
// under an id of its own, so that a crash in between writes it once.
func (m *Mailbox) bury(ctx context.Context, h *holding, t Task, why *contracts.Error) error {
	detail, err := m.o.Sealer.Seal([]byte(why.Error()), contracts.KindDead, h.conversation, t.ID)
	if err != nil {
		return fmt.Errorf("seal dead letter: %w", err)
	}
	withTrace(m.o.Log.Error(), t).Err(why).Str("message_id", t.ID).Uint64("sequence", t.Sequence).Int("attempts", t.Attempt).
		Msg("message moved to the dead letters")
	return m.publishDead(ctx, contracts.Dead{
		ID: t.ID, Conversation: h.conversation, Code: why.Code, Detail: detail, Attempts: t.Attempt,
		Sequence: t.Sequence, Subject: t.Subject, Original: t.Data,
	}, deadID(m.o.Role, t.ID))
}

// deadID names the dead letter of a message: what is said of it and its answer on
// the way out are two.
func deadID(role, id string) string { return "dead-" + role + "-" + id }

// buryRaw moves away a message whose subject names no conversation. It belongs
// to nobody's order, so no lease is needed.
func (m *Mailbox) buryRaw(ctx context.Context, d jetstream.Msg, meta *jetstream.MsgMetadata) (Handled, error) {
	id := contracts.DeadID(m.o.Stream, m.o.Look().life(), meta.Sequence.Stream)
	m.o.Log.Error().Str("message_id", id).Msg("message with a foreign subject moved to the dead letters")
	err := m.publishDead(ctx, contracts.Dead{
		ID: id, Code: contracts.CodeDead, Sequence: meta.Sequence.Stream, Subject: d.Subject(), Original: d.Data(),
	}, deadID(m.o.Role, id))
	if err != nil {
		_ = d.NakWithDelay(m.o.BusyDelay) // it comes again
		return HandledGiven, err
	}
	_ = d.Ack() // a lost ack repeats the copy under the same id
	return HandledDeadRaw, nil
}

func (m *Mailbox) publishDead(ctx context.Context, d contracts.Dead, id string) error {
	d.Stream = m.o.Stream
	return m.storeDead(ctx, m.o.Role, d, id)
}

func (m *Mailbox) storeDead(ctx context.Context, role string, d contracts.Dead, id string) error {
	d.At = m.o.Now().UTC()
	data, err := contracts.EncodeDead(d)
	if err != nil {
		return fmt.Errorf("encode dead letter: %w", err)
	}
	if _, err = m.publish(ctx, &nats.Msg{Subject: contracts.SubjectDead(role), Data: data}, id); err == nil {
		m.count(EventDead)
	}
	return err
}
