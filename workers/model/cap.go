package model

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"moltbot/contracts"
)

// CapOptions bound how many calls a model gets at a time, from all processes
// together. What has no default is required.
type CapOptions struct {
	Redis redis.Scripter
	Log   zerolog.Logger
	Model string // processes that name the same model share its calls
	Node  string // unique among all processes
	Limit int    // calls at a time

	// Lease is how long the permits of a process that died stay lost. Default: 10s.
	Lease time.Duration
	// Renew is how often permits are renewed, and what is not needed is given
	// back. At most a fifth of Lease. Default: 1s.
	Renew time.Duration
	// Ask is how often a process asks again that needs more. Default: 50ms.
	Ask time.Duration
	// Call bounds one call to Redis. At most a fifth of Lease. Default: 1s.
	Call time.Duration
	// Wait is the longest wait for a permit. Default: 5m.
	Wait time.Duration
}

func (o *CapOptions) fill() error {
	o.Lease, o.Renew = cmp.Or(o.Lease, 10*time.Second), cmp.Or(o.Renew, time.Second)
	o.Ask, o.Call = cmp.Or(o.Ask, 50*time.Millisecond), cmp.Or(o.Call, time.Second)
	o.Wait = cmp.Or(o.Wait, 5*time.Minute)
	var errs []error
	if o.Redis == nil || o.Model == "" || o.Node == "" || o.Limit < 1 {
		errs = append(errs, errors.New("a Redis, a model, a node and a limit over 0 are required"))
	}
	if o.Renew*5 > o.Lease || o.Call*5 > o.Lease {
		errs = append(errs, fmt.Errorf("renew (%s) and call (%s) must be at most a fifth of lease (%s)", o.Renew, o.Call, o.Lease))
	}
	return errors.Join(errs...)
}

// Capped lets only as many calls at a time through to a Completer as all
// processes together may make. The Completer's own time-outs begin when a call
// is let through.
type Capped struct {
	inner  Completer
	keeper *keeper
}

// NewCapped checks o. It asks Redis for nothing before the first call.
func NewCapped(inner Completer, o CapOptions) (*Capped, error) {
	if err := o.fill(); err != nil {
		return nil, fmt.Errorf("model cap options: %w", err)
	}
	return &Capped{inner: inner, keeper: newKeeper(o)}, nil
}

// Complete waits for a permit, first come first served, and asks the model.
func (c *Capped) Complete(ctx context.Context, r Request) (Answer, error) {
	if err := c.Enter(ctx); err != nil {
		return Answer{}, err
	}
	defer c.Leave()
	return c.inner.Complete(ctx, r)
}

// Enter waits for a permit, for who makes the call without Complete. Leave
// follows each Enter that gave nil.
func (c *Capped) Enter(ctx context.Context) error { return c.keeper.acquire(ctx) }

// Leave gives back what Enter got.
func (c *Capped) Leave() { c.keeper.release() }

// SetLimit changes how many calls run at a time, from the next question to Redis on.
func (c *Capped) SetLimit(limit int) { c.keeper.resize(limit) }

// Close gives back what is held. No call may run or be made any more.
func (c *Capped) Close() error {
	c.keeper.close()
	return nil
}

// crowded is the error of a wait that took too long. The message keeps its attempts.
func crowded() error {
	return &contracts.Error{
		Code: contracts.CodeModelFailed, Message: "too many calls wait for the model",
		Retryable: true, RetryAfter: soon,
	}
}

var _ Completer = (*Capped)(nil)
