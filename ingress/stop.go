package ingress

import (
	"context"
	"time"

	"moltbot/contracts"
)

// Stopper stops what runs and waits in a conversation.
type Stopper interface {
	// Life names the stream's present life, to which a sequence that is given later
	// belongs; 0: it is not known.
	Life(ctx context.Context) (int64, error)
	// Stop stops what has a lower sequence. It does nothing in another life.
	Stop(ctx context.Context, conversation string, before uint64, life int64) (free bool, err error)
}

// stopWithin bounds the look-up before a command to stop is stored, and what comes after.
const stopWithin = time.Second

// stops reports whether a is a command to stop what came before it.
func (a *accepted) stops() bool { return a.command == contracts.CommandStop }

// storeStop stores a command to stop by itself, since its sequence must be known,
// and then stops what lies before it. Whatever of that fails, or if this process
// dies on the way, the command is answered in its turn and stops what waits then.
func (in *Ingress) storeStop(ctx context.Context, a *accepted) (known bool, err error) {
	life := in.life(ctx)
	seq, known, err := in.publish.publishAlone(ctx, &a.message)
	if err != nil || life == 0 {
		return known, err
	}
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	if _, err := in.o.Stopper.Stop(ctx, a.id.Conversation, seq, life); err != nil {
		in.o.Log.Warn().Err(err).Str("message_id", a.message.ID).Msg("stop not recorded, what waits is stopped later")
	}
	// After the record: whoever is told must find it when it commits.
	if err := in.o.Conn.Publish(contracts.SubjectCancel(a.id.Conversation), contracts.EncodeStop(a.id, seq, life)); err != nil {
		in.o.Log.Warn().Err(err).Str("message_id", a.message.ID).Msg("stop not sent, what runs is stopped later")
	}
	return known, nil
}

func (in *Ingress) life(ctx context.Context) int64 {
	if in.o.Stopper == nil {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	life, err := in.o.Stopper.Life(ctx)
	if err != nil {
		in.o.Log.Warn().Err(err).Msg("the stream's life is not known, what waits is stopped later")
		return 0
	}
	return life
}
