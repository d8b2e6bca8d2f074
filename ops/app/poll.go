package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// call is a question to all processes that listen on a subject.
type call[T any] struct {
	subject  string
	question []byte
	decode   func([]byte) (T, error) // an answer that it refuses is passed over
	enough   func([]T) bool          // ends the wait; nil: never
	quiet    time.Duration           // the answers are complete when none came for so long
}

// poll collects the answers.
func poll[T any](ctx context.Context, nc *nats.Conn, c call[T]) ([]T, error) {
	inbox := nc.NewRespInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("call the roll: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the inbox is nobody else's
	if err := nc.PublishRequest(c.subject, inbox, c.question); err != nil {
		return nil, fmt.Errorf("call the roll: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, rollMost)
	defer cancel()
	all := []T{}
	for err == nil && (c.enough == nil || !c.enough(all)) {
		var m *nats.Msg
		quiet, stop := context.WithTimeout(ctx, c.quiet)
		m, err = sub.NextMsgWithContext(quiet)
		stop()
		if err != nil {
			continue
		}
		if s, err := c.decode(m.Data); err == nil {
			all = append(all, s)
		}
	}
	if err != nil && !errors.Is(err, nats.ErrNoResponders) && !errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("call the roll: %w", err)
	}
	return all, nil
}
