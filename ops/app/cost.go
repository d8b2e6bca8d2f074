package app

import (
	"cmp"
	"context"

	"moltbot/contracts"
	"moltbot/workers/model"
	"moltbot/workers/model/cache"
	"moltbot/workers/usage"
)

// openCost opens what counts and saves calls of models: the book of usage, then
// the cache, which tells it what was saved. quotas are tokens a day by provider;
// streams says which providers stream.
func (a *App) openCost(quotas map[string]int64, streams func(provider string) bool) (err error) {
	a.book, err = usage.New(usage.Options{
		Redis: a.rdb, Sealer: a.keys.Sealer(), Namer: a.namer, Log: a.o.Log, Node: a.node, Quotas: quotas, Streams: streams,
		Metrics: a.registerer(),
	})
	if err != nil {
		return err
	}
	a.onClose("usage", a.book.Close)
	c := a.o.Config.Cache
	if !c.Enabled {
		return nil
	}
	a.cache, err = cache.New(cache.Options{
		Redis: a.rdb, Sealer: a.keys.Sealer(), Namer: a.namer, Log: a.o.Log, TTL: c.TTL, Memory: int64(c.Memory), Shared: c.Shared,
		Demo: c.Demo, Lease: a.o.Config.Queue.Lease, Metrics: a.registerer(), Spared: a.book.Spared,
	})
	if err != nil {
		return err
	}
	a.onClose("cache", a.cache.Close)
	return nil
}

// aroundAll and aroundEach are where cache and book stand around a model: the
// cache around all that is done for a message, the book around each call.
func (a *App) aroundAll(inner model.Completer, name string, e contracts.ModelEntry) model.Completer {
	return a.cache.Wrap(inner, name, e)
}

func (a *App) aroundEach(inner model.Completer, provider, name string, e contracts.ModelEntry) model.Completer {
	return a.book.Around(inner, provider, name, e)
}

// entry is the one model of a configuration without a table.
func (a *App) entry() (name string, e contracts.ModelEntry) {
	m := a.o.Config.Model
	def := m.Provider
	if m.Provider == "openai" {
		def = "gpt-4o-mini"
	}
	e = contracts.ModelEntry{
		Provider: m.Provider, Model: cmp.Or(m.Name, def), MaxTokens: m.MaxTokens, Temperature: &m.Temperature,
	}
	return e.Model, e
}

// openUsage reads what was used, for whoever refuses and whoever reports.
func (a *App) openUsage() {
	a.usage = usage.NewStore(usage.StoreOptions{Redis: a.rdb, Sealer: a.keys.Sealer(), Namer: a.namer})
}

func (a *App) usageReport(ctx context.Context, from, to string) (contracts.AdminUsage, error) {
	return a.usage.Report(ctx, from, to)
}

func (a *App) purgeCache(ctx context.Context, name string) error {
	return cache.Purge(ctx, a.rdb, name)
}
