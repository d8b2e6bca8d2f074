package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
)

// poll asks all processes that listen on subject, until enough have answered or
// nobody does any more. What cannot be decoded is of another version.
func poll[T any](ctx context.Context, nc *nats.Conn, subject string, question []byte, decode func([]byte) (T, error), enough func([]T) bool) ([]T, error) {
	inbox := nc.NewRespInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("call the roll: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the inbox is nobody else's
	if err := nc.PublishRequest(subject, inbox, question); err != nil {
		return nil, fmt.Errorf("call the roll: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, rollMost)
	defer cancel()
	all := []T{}
	for err == nil && !enough(all) {
		var m *nats.Msg
		quiet, stop := context.WithTimeout(ctx, rollQuiet)
		m, err = sub.NextMsgWithContext(quiet)
		stop()
		if err != nil {
			continue
		}
		if s, err := decode(m.Data); err == nil {
			all = append(all, s)
		}
	}
	if err != nil && !errors.Is(err, nats.ErrNoResponders) && !errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("call the roll: %w", err)
	}
	return all, nil
}
