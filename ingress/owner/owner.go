// Package owner lets one process of all do a piece of work, by a lease in Redis
// that it renews. It does not fence: the work must bear that two processes do it
// for a moment, and as long as Redis is away from one of them.
package owner

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
)

// Options of an Owner. What has no default is required.
type Options struct {
	Redis redis.Scripter
	Key   string
	Token string // what the lease holds while it is ours; unique
	Log   zerolog.Logger

	TTL     time.Duration // of the lease; default 9s
	Renew   time.Duration // how often the owner renews it; default 3s
	Retry   time.Duration // how often the others ask for it, more or less; default 2s
	Timeout time.Duration // of one call of Redis; default 1s
}

// Owner is this process' share of the work.
type Owner struct {
	o              Options
	claim, release *redis.Script
	held           atomic.Bool
	away           atomic.Bool // Redis did not answer the last time
}

// New checks o and fills in its defaults.
func New(o Options) (*Owner, error) {
	if o.Redis == nil || o.Key == "" || o.Token == "" {
		return nil, errors.New("owner: Redis, Key and Token are required")
	}
	for _, d := range []struct {
		d    *time.Duration
		want time.Duration
	}{{&o.TTL, 9 * time.Second}, {&o.Renew, 3 * time.Second}, {&o.Retry, 2 * time.Second}, {&o.Timeout, time.Second}} {
		if *d.d == 0 {
			*d.d = d.want
		}
	}
	if o.Renew >= o.TTL {
		return nil, fmt.Errorf("owner: a lease of %s cannot be renewed every %s", o.TTL, o.Renew)
	}
	return &Owner{o: o, claim: redis.NewScript(claimLua), release: redis.NewScript(releaseLua)}, nil
}

// Held reports whether this process is the owner.
func (o *Owner) Held() bool { return o.held.Load() }

// Away reports whether Redis did not answer the last call.
func (o *Owner) Away() bool { return o.away.Load() }

// Run calls work whenever this process becomes the owner, until ctx ends. The
// context of work ends when another process is seen to have the lease; work must
// return soon then. The lease is released once work has returned.
func (o *Owner) Run(ctx context.Context, work func(context.Context)) {
	for {
		if ours, err := o.ask(ctx); err == nil && ours {
			o.hold(ctx, work)
		}
		retry := time.NewTimer(o.o.Retry*3/4 + rand.N(o.o.Retry/2+1))
		select {
		case <-ctx.Done():
			retry.Stop()
			return
		case <-retry.C:
		}
	}
}

// hold runs work until another process has the lease. That Redis does not answer
// is no reason to stop: then nobody may do the work, and for a moment two may.
func (o *Owner) hold(ctx context.Context, work func(context.Context)) {
	o.held.Store(true)
	defer o.held.Store(false)
	working, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); work(working) }()
	defer o.drop(ctx) // last
	defer func() { stop(); <-done }()

	renew := time.NewTicker(o.o.Renew)
	defer renew.Stop()
	for {
		select {
		case <-done:
			return
		case <-ctx.Done():
			return
		case <-renew.C:
			if ours, err := o.ask(ctx); err == nil && !ours {
				o.o.Log.Warn().Str("lease", o.o.Key).Msg("a lease went to another process")
				return
			}
		}
	}
}

// ask claims or renews the lease.
func (o *Owner) ask(ctx context.Context) (ours bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, o.o.Timeout)
	defer cancel()
	n, err := o.claim.Run(ctx, o.o.Redis, []string{o.o.Key}, o.o.Token, o.o.TTL.Milliseconds()).Int()
	if was := o.away.Swap(err != nil); err != nil && !was && !errors.Is(err, context.Canceled) {
		o.o.Log.Warn().Err(err).Str("lease", o.o.Key).Msg("Redis was not asked who is the owner")
	}
	return n == 1, err
}

// drop releases the lease, so that another process need not wait for its end.
func (o *Owner) drop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.o.Timeout)
	defer cancel()
	if err := o.release.Run(ctx, o.o.Redis, []string{o.o.Key}, o.o.Token).Err(); err != nil {
		o.o.Log.Info().Err(err).Str("lease", o.o.Key).Msg("a lease was not released and ends by itself")
	}
}
