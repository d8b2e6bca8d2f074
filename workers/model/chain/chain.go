// Package chain says who answers a message, and who does when that one fails:
// it follows the table of models, retries, falls back, and leaves alone a
// provider that is down. It speaks to no provider itself, and never asks a second
// model after the first piece of an answer was shown.
package chain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/workers/model"
)

// Options of a chain. What has no default is required.
type Options struct {
	Router    *contracts.Router
	Providers map[string]model.Completer // by the names that the table uses
	Log       zerolog.Logger

	// Redis and Node share the calls of capped models with other processes, see
	// model.CapOptions. Required as soon as a table caps one.
	Redis redis.Scripter
	Node  string

	// Wrap puts something around all that is done for one message, the cache for
	// instance. It is called once for each model of a table, and for each message
	// that names a model beyond it; name is then that of the model which lets it.
	Wrap func(c model.Completer, name string, e contracts.ModelEntry) model.Completer
	// Each puts something around every call of a provider, the accounting for instance.
	Each func(c model.Completer, provider, name string, e contracts.ModelEntry) model.Completer

	// Total bounds what one message's retries and fall-backs take together. It
	// begins with the first call, which its provider bounds alone. Default: 4m.
	Total time.Duration
	// Apologize gives one sentence as the answer where every model failed, instead
	// of the error, after which the message would be tried again.
	Apologize bool
	// Apology is that sentence. Default: one in Chinese or in English.
	Apology string

	// Metrics takes the chain's metrics; nil: nobody reads them.
	Metrics prometheus.Registerer
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Pause waits between two calls, or until ctx ends. Default: with a timer.
	Pause func(ctx context.Context, d time.Duration)
	// Jitter picks from 0 to d. Default: evenly.
	Jitter func(d time.Duration) time.Duration
}

func (o *Options) fill() error {
	o.Total = cmp.Or(o.Total, 4*time.Minute)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Pause == nil {
		o.Pause = pause
	}
	if o.Jitter == nil {
		o.Jitter = func(d time.Duration) time.Duration { return rand.N(d + 1) }
	}
	if o.Router == nil || o.Total < 0 {
		return errors.New("a router is required, and no limit may be negative")
	}
	return nil
}

// Chain is the workers' Models. It is safe for concurrent use.
type Chain struct {
	o       Options
	metrics *metrics
	state   atomic.Pointer[state]

	mu   sync.Mutex // held by whoever changes the state
	caps map[string]*model.Capped
}

// New checks o and the router's table.
func New(o Options) (*Chain, error) {
	if err := o.fill(); err != nil {
		return nil, fmt.Errorf("chain options: %w", err)
	}
	c := &Chain{o: o, caps: map[string]*model.Capped{}}
	c.metrics = newMetrics(o.Metrics)
	if err := c.apply(o.Router, o.Providers); err != nil {
		return nil, fmt.Errorf("chain: %w", err)
	}
	c.metrics.watch(o.Metrics, c)
	return c, nil
}

// Close gives back the permits. No message may be answered any more.
func (c *Chain) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, limit := range c.caps {
		errs = append(errs, limit.Close())
	}
	return errors.Join(errs...)
}

// Router is the table that messages are chosen by now.
func (c *Chain) Router() *contracts.Router { return c.state.Load().router }

// Names lists the models of the table that holds now.
func (c *Chain) Names() []string { return c.Router().Names() }

// Use makes r the table for the messages to come. It refuses a table that names
// a provider which this process does not have; then the old one stays.
func (c *Chain) Use(r *contracts.Router) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.apply(r, c.state.Load().completers())
}

// SetProviders exchanges the providers for the messages to come. It refuses to
// lose one that the table needs. The old ones are not closed: calls may run.
func (c *Chain) SetProviders(providers map[string]model.Completer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.apply(c.state.Load().router, providers)
}

func (c *Chain) apply(r *contracts.Router, providers map[string]model.Completer) error {
	next, err := c.build(r, providers)
	if err != nil {
		return err
	}
	c.metrics.begin(r.Table.Models)
	c.state.Store(next)
	return nil
}

// Choose finds who answers m by the table that holds now, and holds on to it. A
// text routes only where it is the prompt: a client that brings its own messages
// has written them for the model.
func (c *Chain) Choose(m contracts.Message) (model.Choice, error) {
	s := c.state.Load()
	leading := m.Text
	if m.Prompt != "" {
		leading = ""
	}
	routed, err := s.router.Choose(m.Model, m.Route, leading)
	if err != nil {
		return model.Choice{}, err
	}
	if m.Prompt != "" {
		routed.Text = m.Text
	}
	who, listed := s.answers[routed.Name], routed.Name
	if who == nil {
		through := c.passed(s, routed)
		who, listed = c.answer(through), through.links[0].name
	}
	return model.Choice{
		Completer: who, Name: routed.Name, Listed: listed, Model: routed.Entry.Model, Text: routed.Text, Route: routed.Route,
		Table: s.router.Revision, Blind: !routed.Entry.Sees(),
	}, nil
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
