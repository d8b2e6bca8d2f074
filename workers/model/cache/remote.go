package cache

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/workers/model"
)

var (
	//go:embed lua/find.lua
	findLua string
	//go:embed lua/renew.lua
	renewLua string
	//go:embed lua/store.lua
	storeLua string
	//go:embed lua/purge.lua
	purgeLua string
)

// Scripts gives the name of each Lua script by the hash under which Redis is
// asked to run it, for metrics.
func Scripts() map[string]string {
	return map[string]string{
		redis.NewScript(findLua).Hash(): "cache_find", redis.NewScript(renewLua).Hash(): "cache_renew",
		redis.NewScript(storeLua).Hash(): "cache_store", redis.NewScript(purgeLua).Hash(): "cache_purge",
	}
}

// remote is the level in Redis. What fails there is counted and leaves Redis
// alone for a pause; no request fails for it.
type remote struct {
	o                  Options
	look, renew, store *redis.Script
	metrics            *metrics
	until              atomic.Int64 // Unix nanoseconds until which Redis is left alone
}

func newRemote(o Options, m *metrics) *remote {
	return &remote{
		o: o, metrics: m, look: redis.NewScript(findLua), renew: redis.NewScript(renewLua), store: redis.NewScript(storeLua),
	}
}

// up reports whether Redis may be asked.
func (s *remote) up() bool { return s.o.Now().UnixNano() >= s.until.Load() }

func (s *remote) failed(err error) {
	s.metrics.failures.Inc()
	now := s.o.Now()
	if before := s.until.Swap(now.Add(s.o.Pause).UnixNano()); before < now.Add(-time.Minute).UnixNano() {
		s.o.Log.Warn().Err(err).Msg("answers are not cached: Redis does not answer")
	}
}

// find gives an answer with what is left of its life, or the lease to make it.
// While another process has the lease it waits. Its error is that of ctx.
func (s *remote) find(ctx context.Context, key string) (a model.Answer, life time.Duration, l *lease, err error) {
	token := rand.Text()
	for wait := s.o.FirstPoll; s.up(); wait = min(2*wait, s.o.LastPoll) {
		v, err := s.look.Run(ctx, s.o.Redis, s.keys(key), token, s.o.Lease.Milliseconds()).Slice()
		if ctx.Err() != nil {
			return a, 0, nil, fmt.Errorf("look for a cached answer: %w", ctx.Err())
		}
		what, _ := first(v).(string)
		switch {
		case err != nil:
			s.failed(err)
			return a, 0, nil, nil
		case what == "ours":
			return a, 0, s.hold(key, token), nil
		case what == "found":
			if a, life, err = s.open(key, v); err == nil {
				return a, life, nil, nil
			}
			s.metrics.failures.Inc()
			return model.Answer{}, 0, s.hold(key, token), nil // what cannot be read is written over
		}
		if err := sleep(ctx, wait); err != nil {
			return a, 0, nil, err
		}
	}
	return a, 0, nil, nil
}

func (s *remote) keys(key string) []string {
	return []string{contracts.KeyCache(key), contracts.KeyFlight(key)}
}

func first(v []any) any {
	if len(v) == 0 {
		return nil
	}
	return v[0]
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for another process' answer: %w", ctx.Err())
	}
}

func (s *remote) open(key string, v []any) (model.Answer, time.Duration, error) {
	if len(v) != 3 {
		return model.Answer{}, 0, errors.New("cached answer: unexpected reply")
	}
	sealed, _ := v[1].(string)
	left, _ := v[2].(int64)
	plain, err := s.o.Sealer.Open([]byte(sealed), contracts.KindCache, key, "")
	if err != nil {
		return model.Answer{}, 0, fmt.Errorf("open cached answer: %w", err)
	}
	c, err := contracts.DecodeCachedAnswer(plain)
	if err != nil {
		return model.Answer{}, 0, err
	}
	return model.Answer{
		Text: c.Text, ToolCalls: c.ToolCalls, Model: c.Model, Version: c.ModelVersion, Finish: c.Finish, Usage: c.Usage, Tokens: c.Tokens,
	}, max(time.Millisecond, time.Duration(left)*time.Millisecond), nil
}

func (s *remote) seal(key string, a *model.Answer) ([]byte, error) {
	return s.o.Sealer.Seal(contracts.EncodeCachedAnswer(contracts.CachedAnswer{
		Text: a.Text, ToolCalls: a.ToolCalls, Model: a.Model, ModelVersion: a.Version, Finish: a.Finish, Usage: a.Usage,
		Tokens: a.Tokens, At: s.o.Now(),
	}), contracts.KindCache, key, "")
}

// lease is the right to make an answer while others wait for it. The nil *lease
// is that of a process without Redis. It is renewed by a timer, so that no
// goroutine waits beside the call.
type lease struct {
	s          *remote
	key, token string

	mu    sync.Mutex
	timer *time.Timer
	over  bool
}

func (s *remote) hold(key, token string) *lease {
	l := &lease{s: s, key: key, token: token}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer = time.AfterFunc(s.o.Lease/3, l.renew)
	return l
}

// renew stops at the first failure: the others go on without us, at worst with
// one call too many.
func (l *lease) renew() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	ours, err := l.s.renew.Run(context.Background(), l.s.o.Redis, l.s.keys(l.key)[1:], l.token, l.s.o.Lease.Milliseconds()).Int()
	switch {
	case err != nil:
		l.s.failed(err)
	case ours == 1:
		l.timer.Reset(l.s.o.Lease / 3)
	}
}

// end gives the lease back, with the answer if there is one to keep. Only the
// first end counts.
func (l *lease) end(a *model.Answer, life time.Duration) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	l.over = true
	l.timer.Stop()
	if !l.s.up() {
		return // it runs out by itself
	}
	var sealed []byte
	var err error
	if a != nil {
		if sealed, err = l.s.seal(l.key, a); err != nil {
			l.s.failed(fmt.Errorf("seal answer: %w", err))
		}
	}
	// The message's context may have ended; others wait for this.
	err = l.s.store.Run(context.Background(), l.s.o.Redis, l.s.keys(l.key), l.token, sealed, max(1, life.Milliseconds())).Err()
	if err != nil {
		l.s.failed(err)
	}
}

// jitter spreads a time to live by ±10 %, so that what was asked together does
// not end together.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*mrand.Float64()))
}

// longest is the longest life that jitter gives.
func longest(d time.Duration) time.Duration { return d + d/10 + time.Millisecond }
