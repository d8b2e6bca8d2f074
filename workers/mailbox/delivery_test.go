package mailbox_test

import (
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// quiet is a delivery that counts how it is settled.
type quiet struct {
	jetstream.Msg
	acks, naks atomic.Int32
	delay      atomic.Int64  // of the last nak
	mute       bool          // no sign of life reaches the broker
	beats      chan struct{} // gets every sign of life; may be nil
}

func (q *quiet) Ack() error {
	q.acks.Add(1)
	return q.Msg.Ack()
}

func (q *quiet) NakWithDelay(d time.Duration) error {
	q.naks.Add(1)
	q.delay.Store(int64(d))
	return q.Msg.NakWithDelay(d)
}

func (q *quiet) InProgress() error {
	select {
	case q.beats <- struct{}{}:
	default:
	}
	if q.mute {
		return nil
	}
	return q.Msg.InProgress()
}
