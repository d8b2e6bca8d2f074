package app

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"reflect"
	"sync"

	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/ops/config"
	"moltbot/workers/model"
	"moltbot/workers/model/anthropic"
	"moltbot/workers/model/chain"
	"moltbot/workers/model/openai"
	"moltbot/workers/model/upstream"
)

// answerer is the chain with the providers behind it, as the configuration
// describes them.
type answerer struct {
	*chain.Chain
	pool config.Pool
	keep int // unused connections for one provider
	log  zerolog.Logger

	mu      sync.Mutex
	said    map[string]config.Provider
	open    map[string]model.Completer
	retired []model.Completer
}

// openChain makes what answers messages in this process.
func (a *App) openChain() (*answerer, error) {
	c := a.o.Config
	providers, table, _ := c.Model.All()
	router, err := contracts.NewRouter(table, 0)
	if err != nil {
		return nil, err
	}
	w := &answerer{pool: c.Pool, keep: cmp.Or(c.Pool.MaxSize, c.Workers.Slots), log: a.o.Log}
	next, err := w.prepare(providers)
	if err != nil {
		return nil, err
	}
	w.Chain, err = chain.New(chain.Options{
		Router: router, Providers: next, Log: a.o.Log, Redis: a.rdb, Node: a.node,
		Total: cmp.Or(c.Model.TotalTimeout, 2*c.Model.Timeout), Apologize: c.Model.OnFailure == config.FailureApologize, Apology: c.Model.Apology,
		Wrap: a.cache.Wrap, Each: a.book.Around, Metrics: a.registerer(),
	})
	if err != nil {
		return nil, errors.Join(err, closeAll(next))
	}
	w.settle(providers, next)
	a.onClose("models", w.close)
	return w, nil
}

// SetProviders makes these the providers, all or none. Those that stay as they
// are keep their connections, their keys' state and their breaker.
func (w *answerer) SetProviders(providers map[string]config.Provider) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	next, err := w.prepare(providers)
	if err != nil {
		return err
	}
	if err := w.Chain.SetProviders(next); err != nil {
		return errors.Join(err, closeAll(without(next, w.open)))
	}
	w.settle(providers, next)
	return nil
}

// prepare opens what is new, or nothing.
func (w *answerer) prepare(providers map[string]config.Provider) (map[string]model.Completer, error) {
	next := make(map[string]model.Completer, len(providers))
	var errs []error
	for name, p := range providers {
		if old, ok := w.open[name]; ok && reflect.DeepEqual(p, w.said[name]) {
			next[name] = old
			continue
		}
		c, err := w.provider(name, p)
		if err != nil {
			errs = append(errs, fmt.Errorf("provider %s: %w", name, err))
			continue
		}
		next[name] = c
	}
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, closeAll(without(next, w.open)))
	}
	return next, nil
}

// settle lets go of what is no longer used. A call that runs on it is not
// disturbed, and leaves a connection behind that is closed at the end.
func (w *answerer) settle(providers map[string]config.Provider, next map[string]model.Completer) {
	for _, old := range without(w.open, next) {
		_ = closeOne(old) // only unused connections
		w.retired = append(w.retired, old)
	}
	w.said, w.open = providers, next
}

// streams tells whether a provider streams whoever reads along.
func (w *answerer) streams(provider string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.said[provider]
	return p.Stream && p.Kind != config.KindDemo
}

func (w *answerer) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	errs := []error{w.Chain.Close(), closeAll(w.open)}
	for _, c := range w.retired {
		errs = append(errs, closeOne(c))
	}
	return errors.Join(errs...)
}

// anthropicEndpoint is Anthropic's own, for a provider of the kind with another name.
const anthropicEndpoint = "https://api.anthropic.com"

func (w *answerer) provider(name string, p config.Provider) (model.Completer, error) {
	o := upstream.Options{
		Provider: name, Endpoint: p.Endpoint, Keys: p.Keys(), Stream: p.Stream, FirstToken: p.FirstTokenTimeout, Idle: p.IdleTimeout,
		Total: p.Timeout, MaxResponse: p.MaxResponseBytes,
		KeepIdle: w.keep, IdleTimeout: w.pool.IdleTimeout, MaxLifetime: w.pool.MaxLifetime, Log: w.log,
	}
	var c *upstream.Client
	var err error
	switch p.Kind {
	case config.KindDemo:
		return model.Demo{}, nil
	case config.KindAnthropic:
		if name != anthropic.Name {
			o.Endpoint = cmp.Or(o.Endpoint, anthropicEndpoint)
		}
		c, err = anthropic.New(o)
	default:
		c, err = openai.New(o)
	}
	if err != nil {
		return nil, err // and not a typed nil
	}
	return c, nil
}

// without gives those of all that others do not have under the same name.
func without(all, others map[string]model.Completer) map[string]model.Completer {
	rest := map[string]model.Completer{}
	for name, c := range all {
		if other, ok := others[name]; !ok || other != c {
			rest[name] = c
		}
	}
	return rest
}

func closeAll(completers map[string]model.Completer) error {
	var errs []error
	for _, c := range completers {
		errs = append(errs, closeOne(c))
	}
	return errors.Join(errs...)
}

func closeOne(c model.Completer) error {
	if closer, ok := c.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}
