package app

import (
	"context"

	"moltbot/contracts"
	"moltbot/workers/model/cache"
	"moltbot/workers/usage"
)

// openCost opens what counts and saves calls of models: the book of usage, then
// the cache, which tells it what was saved. Quotas are those of the start.
func (a *App) openCost(streams func(provider string) bool) (err error) {
	providers, _, _ := a.o.Config.Model.All()
	quotas := make(map[string]int64)
	for name, p := range providers {
		quotas[name] = p.QuotaTokens
	}
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
