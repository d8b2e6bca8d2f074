// Package limit counts the requests of callers against their rates, over all
// processes that share a Redis. It knows no HTTP, dials nothing, and never
// refuses anybody because Redis is away.
package limit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"moltbot/contracts"
)

// Options of a Limiter. What has no default is required.
type Options struct {
	// Redis is shared by all processes. Default: nil, this process counts alone.
	Redis redis.Scripter
	// Namer makes the names in Redis, which do not show who the caller is.
	// Required with Redis.
	Namer *contracts.Namer
	// Rate of a caller that has none of its own. The zero Rate is no limit.
	Rate contracts.Rate
	// Timeout is how long a request waits for Redis. Default: 100ms.
	Timeout time.Duration
	// Pause is how long Redis is left alone after it failed. Default: 1s.
	Pause time.Duration
	// Now is the clock of this process; that of Redis is its own. Default: time.Now.
	Now func() time.Time
	Log zerolog.Logger
}

// Limiter is safe for concurrent use.
type Limiter struct {
	o      Options
	source source
	stats  counters

	mu      sync.Mutex
	callers map[key]*caller
	swept   time.Time
}

// key is a budget: callers with several rates have one for each, so that the
// tokens of a slow rate are not spent by a fast one.
type key struct {
	name string
	rate contracts.Rate
}

// New gives a Limiter over o.
func New(o Options) (*Limiter, error) {
	if o.Redis != nil && o.Namer == nil {
		return nil, errors.New("limit options: a Redis needs a Namer")
	}
	if !o.Rate.IsZero() {
		if err := o.Rate.Check(); err != nil {
			return nil, fmt.Errorf("limit options: %w", err)
		}
	}
	if o.Timeout == 0 {
		o.Timeout = 100 * time.Millisecond
	}
	if o.Pause == 0 {
		o.Pause = time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	l := &Limiter{o: o, callers: make(map[key]*caller), swept: o.Now()}
	l.source = source{o: &l.o, stats: &l.stats, script: redis.NewScript(takeLua)}
	return l, nil
}

// Decision is what became of a request. The zero Decision is a refusal.
type Decision struct {
	Allowed bool
	// Limited says that there is a limit, which the rest describes.
	Limited   bool
	Limit     int           // the burst
	Remaining int           // how many could follow at once
	Reset     time.Duration // until all of the burst can
	Retry     time.Duration // of a refusal: when the next one makes sense
}

// Take spends one request of caller. The zero rate is the default. The error is
// that of ctx, which ended while Redis was asked.
func (l *Limiter) Take(ctx context.Context, name string, rate contracts.Rate) (Decision, error) {
	if rate.IsZero() {
		rate = l.o.Rate
	}
	if rate.IsZero() || rate.Off {
		return Decision{Allowed: true}, nil
	}
	if err := rate.Check(); err != nil {
		return Decision{}, fmt.Errorf("rate of the caller: %w", err)
	}
	c := l.caller(key{name, rate})
	for {
		d, f := c.take(l.o.Now(), &l.source)
		if f != nil {
			select {
			case <-f.landed:
			case <-ctx.Done():
				c.leave(f)
				return Decision{}, ctx.Err()
			}
			var mine bool
			if d, mine = c.claim(f, l.o.Now()); !mine {
				continue
			}
		}
		l.stats.count(d)
		return d, nil
	}
}

// Stats counts since the start.
func (l *Limiter) Stats() Stats { return l.stats.read() }

func (l *Limiter) caller(k key) *caller {
	now := l.o.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweep(now)
	c := l.callers[k]
	if c == nil {
		c = newCaller(k.rate)
		if l.o.Redis != nil {
			c.key = contracts.KeyLimit(l.o.Namer.Digest("limit", k.name, k.rate.String()))
		}
		l.callers[k] = c
	}
	return c
}

// Callers that owe nothing are forgotten now and then, sooner when there are
// many; a sweep looks at all of them under the lock.
const (
	sweepAfter = time.Minute
	sweepAgain = time.Second
	manyOf     = 100_000
)

func (l *Limiter) sweep(now time.Time) {
	since := now.Sub(l.swept)
	if since < sweepAfter && (len(l.callers) < manyOf || since < sweepAgain) {
		return
	}
	l.swept = now
	for k, c := range l.callers {
		if c.idle(now) {
			delete(l.callers, k)
		}
	}
}
