// Package cache answers requests that were asked before: from memory, from
// Redis, or from the call that an identical request waits for at the moment, in
// this process or another. It never makes a request fail that would have been
// answered without it, and never gives one caller what another one's call
// brought, unless it is told to.
package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/workers/model"
)

// Namer makes keyed digests. The same parts give the same digest in every
// process, and nobody without the key can tell whether a prompt was asked.
type Namer interface {
	Digest(purpose string, parts ...string) string
}

// Options of a Cache. What has no default is required.
type Options struct {
	Redis  redis.UniversalClient
	Sealer contracts.Sealer
	Namer  Namer
	Log    zerolog.Logger

	TTL      time.Duration // of an answer, ±10 %; default 5m
	Memory   int64         // bytes in this process; default 32 MiB
	Shared   bool          // one caller gets what another one's call brought
	Demo     bool          // also for the demo model
	MaxValue int           // bytes; larger answers are not kept; default 256 KiB

	Lease     time.Duration // how long others wait for a process that died; default 15s
	Watch     time.Duration // how often a purge is looked for; default 1s
	Pause     time.Duration // how long a Redis that failed is left alone; default 1s
	FirstPoll time.Duration // wait for another process' answer, at first; default 10ms
	LastPoll  time.Duration // and at most; default 100ms

	// Metrics takes the cache's metrics; nil: nobody reads them.
	Metrics prometheus.Registerer
	// Spared hears of every answer that cost no call of the caller's own. Default: nobody does.
	Spared func(caller, name string)
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

func (o *Options) fill() error {
	o.TTL, o.Memory, o.MaxValue = cmp.Or(o.TTL, 5*time.Minute), cmp.Or(o.Memory, 32<<20), cmp.Or(o.MaxValue, 256<<10)
	o.Lease, o.Watch, o.Pause = cmp.Or(o.Lease, 15*time.Second), cmp.Or(o.Watch, time.Second), cmp.Or(o.Pause, time.Second)
	o.FirstPoll, o.LastPoll = cmp.Or(o.FirstPoll, 10*time.Millisecond), cmp.Or(o.LastPoll, 100*time.Millisecond)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Spared == nil {
		o.Spared = func(string, string) {}
	}
	var errs []error
	if o.Redis == nil || o.Sealer == nil || o.Namer == nil {
		errs = append(errs, errors.New("a Redis, a sealer and a namer are required"))
	}
	if o.TTL < time.Millisecond || o.Memory < 1 || o.MaxValue < 1 || o.Lease < 3*time.Millisecond {
		errs = append(errs, errors.New("ttl, memory, value and lease must be positive"))
	}
	return errors.Join(errs...)
}

// Cache keeps answers. The nil *Cache keeps nothing. It is safe for concurrent use.
type Cache struct {
	o       Options
	memory  memory
	remote  *remote
	purges  *purges
	flights flights
	metrics *metrics
}

// New checks o. It asks Redis for nothing before the first request.
func New(o Options) (*Cache, error) {
	if err := o.fill(); err != nil {
		return nil, fmt.Errorf("cache options: %w", err)
	}
	kept, err := newMemory(o)
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	c := &Cache{o: o, memory: kept, flights: flights{open: make(map[string]*flight)}}
	c.metrics = newMetrics(o.Metrics, kept.size)
	c.remote = newRemote(o, c.metrics)
	c.purges = &purges{o: o, remote: c.remote, words: make(map[string]*word)}
	return c, nil
}

// Close ends what runs beside the requests. No request may be made any more.
func (c *Cache) Close() error {
	c.memory.close()
	return nil
}

// Wrap puts the cache before inner, which answers as the model called name in
// the table. It goes around everything that tries, retries and falls back.
func (c *Cache) Wrap(inner model.Completer, name string, e contracts.ModelEntry) model.Completer {
	if c == nil || e.Provider == providerDemo && !c.o.Demo {
		return inner
	}
	return &cached{cache: c, inner: inner, name: name, entry: e}
}

const providerDemo = "demo"

// cached is a model with the cache before it.
type cached struct {
	cache *Cache
	inner model.Completer
	name  string
	entry contracts.ModelEntry
}

// Complete answers from memory, from the flight of an identical request, or
// leads one.
func (w *cached) Complete(ctx context.Context, r model.Request) (model.Answer, error) {
	key, ok := w.key(ctx, &r)
	if !ok {
		return w.inner.Complete(ctx, r)
	}
	if a, ok := w.cache.memory.find(key); ok {
		return w.spared(&r, a, fromMemory), nil
	}
	for {
		f, first := w.cache.flights.join(ctx, key)
		if first {
			return w.lead(ctx, f, &r)
		}
		if a, again, err := w.follow(ctx, f, &r); !again {
			return a, err
		}
	}
}

// spared is an answer that was not asked for this request.
func (w *cached) spared(r *model.Request, a model.Answer, from int) model.Answer {
	a.Cached, a.Cost, a.FirstToken = true, 0, 0
	w.cache.metrics.requests[from].Inc()
	w.cache.o.Spared(r.Caller, w.name)
	if r.OnDelta != nil && from != fromFlight && a.Text != "" {
		r.OnDelta(a.Text)
	}
	return a
}

var _ model.Completer = (*cached)(nil)
