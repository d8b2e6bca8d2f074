// Package dead is what operators do with dead letters: it lists, opens, replays and
// drops them. It never removes a letter before the broker has the message that it
// becomes, and never logs or lists what was said.
package dead

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"moltbot/contracts"
)

// Options configure Letters. JS and Sealer are required.
type Options struct {
	JS     jetstream.JetStream
	Sealer contracts.Sealer
	// Most is how many letters one list looks at; default 20000.
	Most int
	// Timeout bounds each call of the broker; default 5s.
	Timeout time.Duration
	// Now gives the time; default time.Now.
	Now func() time.Time
}

// Letters are the letters of the stream of dead ones.
type Letters struct {
	o Options
	// remove deletes a letter; tests let it fail, as a crash would.
	remove func(context.Context, uint64) error
}

// New gives the letters.
func New(o Options) (*Letters, error) {
	if o.JS == nil || o.Sealer == nil {
		return nil, errors.New("dead letters need JS and Sealer")
	}
	if o.Most == 0 {
		o.Most = 20000
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	l := &Letters{o: o}
	l.remove = l.delete
	return l, nil
}

func (l *Letters) stream(ctx context.Context) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, l.o.Timeout)
	defer cancel()
	s, err := l.o.JS.Stream(ctx, contracts.StreamDead)
	if err != nil {
		return nil, down("find the dead letters", err)
	}
	return s, nil
}

func (l *Letters) delete(ctx context.Context, sequence uint64) error {
	s, err := l.stream(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, l.o.Timeout)
	defer cancel()
	if err := s.DeleteMsg(ctx, sequence); err != nil && !gone(err) {
		return down("remove the dead letter", err)
	}
	return nil
}

// gone reports whether somebody else removed the letter.
func gone(err error) bool {
	const deleteFailed = 10057 // the server has no code of its own for it
	var api *jetstream.APIError
	return errors.Is(err, jetstream.ErrMsgNotFound) || errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeMessageNotFound || api.ErrorCode == deleteFailed)
}

// One request for letters takes at most so many, and about so many bytes: what
// comes is held until it is looked at.
const (
	batchLetters = 256
	batchBytes   = 4 << 20
)

// each calls take with the letters from one sequence to another, the oldest first,
// until it gives false.
func (l *Letters) each(ctx context.Context, subject string, from, to uint64, take func(*jetstream.RawStreamMsg) bool) error {
	for from <= to {
		next, more, err := l.batch(ctx, subject, from, to, take)
		if err != nil || !more {
			return err
		}
		from = next
	}
	return nil
}

func (l *Letters) batch(ctx context.Context, subject string, from, to uint64, take func(*jetstream.RawStreamMsg) bool) (next uint64, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.o.Timeout)
	defer cancel()
	all, err := jetstreamext.GetBatch(ctx, l.o.JS, contracts.StreamDead, batchLetters,
		jetstreamext.GetBatchSeq(max(1, from)), jetstreamext.GetBatchSubject(subject), jetstreamext.GetBatchMaxBytes(batchBytes))
	if err != nil {
		return 0, false, down("read dead letters", err)
	}
	for raw, err := range all {
		if errors.Is(err, jetstreamext.ErrNoMessages) {
			return 0, false, nil
		}
		if err != nil {
			return 0, false, down("read dead letters", err)
		}
		if raw.Sequence > to || !take(raw) {
			return 0, false, nil
		}
		next = raw.Sequence + 1
	}
	if ctx.Err() != nil { // the library ends without a word
		return 0, false, down("read dead letters", ctx.Err())
	}
	return next, next > 0, nil
}

func down(step string, err error) error {
	return &contracts.Error{Code: contracts.CodeQueueDown, Message: "the dead letters cannot be read or changed now", RetryAfter: time.Second,
		Retryable: true, Err: fmt.Errorf("%s: %w", step, err)}
}
