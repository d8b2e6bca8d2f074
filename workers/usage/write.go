package usage

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"slices"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
)

//go:embed lua/add.lua
var addLua string

// Scripts gives the name of the Lua script by the hash under which Redis is asked
// to run it, for metrics.
func Scripts() map[string]string {
	return map[string]string{redis.NewScript(addLua).Hash(): "usage_add"}
}

// The fields of KeyUsage. What a caller used of a model is in five of them, all
// its tokens in one, so that a budget is one look.
const (
	fieldRow      = "r|" // digest|kind|model
	fieldTokens   = "t|" // digest
	fieldProvider = "q|" // provider
)

// kinds are the counts of a row, in the order of counts.
const (
	kindCalls      = "c"
	kindPrompt     = "p"
	kindCompletion = "o"
	kindNanos      = "n"
	kindCached     = "h"
)

// batch is one write, frozen: repeated as it is until Redis confirms it, so that
// its number can tell that it was done before.
type batch struct {
	day       string
	number    int64
	fields    []any // field, count, ...
	names     []any // digest, sealed name, ...
	providers []string
	tokens    []int64 // of providers
}

// mostCells bounds a batch, and with it how long Redis is at it.
const mostCells = 500

// report says when Redis stops and begins to answer, once each.
func (b *Book) report(err error) {
	switch {
	case err != nil && !b.failing:
		b.o.Log.Warn().Err(err).Msg("usage is written later: Redis does not answer")
	case err == nil && b.failing:
		b.o.Log.Info().Msg("usage is written again")
	}
	b.failing = err != nil
}

// write sends what is pending. After a failure the same batches are sent again
// before newer ones.
func (b *Book) write() error {
	b.writing.Lock()
	defer b.writing.Unlock()
	if err := b.sendAll(); err != nil {
		return err
	}
	b.freeze()
	return b.sendAll()
}

func (b *Book) sendAll() error {
	for len(b.batches) > 0 {
		err := b.send(b.batches[0])
		b.report(err)
		if err != nil {
			b.metrics.failures.Inc()
			return err
		}
		b.batches = b.batches[1:]
	}
	return nil
}

// freeze makes batches of what is pending.
func (b *Book) freeze() {
	b.mu.Lock()
	pending := b.pending
	b.pending, b.cells = make(map[string]*page), 0
	b.mu.Unlock()
	for _, day := range slices.Sorted(maps.Keys(pending)) {
		p := pending[day]
		next := batch{day: day}
		for _, provider := range slices.Sorted(maps.Keys(p.providers)) {
			next.fields = append(next.fields, fieldProvider+provider, p.providers[provider])
			next.providers, next.tokens = append(next.providers, provider), append(next.tokens, p.providers[provider])
		}
		cells := 0
		for c, n := range p.cells {
			if err := b.put(&next, c, n); err != nil {
				b.metrics.lost.Inc()
				b.o.Log.Error().Err(err).Msg("usage not counted")
				continue
			}
			if cells++; cells == mostCells {
				b.queue(next)
				next, cells = batch{day: day}, 0
			}
		}
		b.queue(next)
	}
}

func (b *Book) queue(next batch) {
	if len(next.fields) > 0 {
		b.number++
		next.number = b.number
		b.batches = append(b.batches, next)
	}
}

// put adds a caller's counts to a batch, and the caller's name, sealed.
func (b *Book) put(to *batch, c cell, n *counts) error {
	digest := digestOf(b.o.Namer, c.caller)
	name, err := b.o.Sealer.Seal([]byte(c.caller), contracts.KindName, digest, to.day)
	if err != nil {
		return fmt.Errorf("seal the name of a caller: %w", err)
	}
	to.names = append(to.names, digest, name)
	field := func(name string, n int64) {
		if n != 0 {
			to.fields = append(to.fields, name, n)
		}
	}
	row := func(kind string, n int64) { field(fieldRow+digest+"|"+kind+"|"+c.model, n) }
	row(kindCalls, n.calls)
	row(kindPrompt, n.prompt)
	row(kindCompletion, n.completion)
	row(kindNanos, n.nanos)
	row(kindCached, n.cached)
	field(fieldTokens+digest, n.prompt+n.completion)
	return nil
}

func digestOf(n Namer, caller string) string { return n.Digest("usage", caller) }

// send writes one batch. The context is none of a message's: the counts are of many.
func (b *Book) send(t batch) error {
	args := append([]any{b.o.Node, t.number, b.o.Keep.Milliseconds(), len(t.fields) / 2}, t.fields...)
	keys := []string{contracts.KeyUsage(t.day), contracts.KeyUsageNames(t.day)}
	totals, err := b.script.Run(context.Background(), b.o.Redis, keys, append(args, t.names...)...).Int64Slice()
	if err == nil && len(totals) != len(t.providers) {
		err = fmt.Errorf("%d totals for %d providers", len(totals), len(t.providers))
	}
	if err != nil {
		return fmt.Errorf("write usage: %w", err)
	}
	for i, p := range t.providers {
		b.quotas.now(t.day, p, totals[i]-t.tokens[i], totals[i])
	}
	return nil
}
