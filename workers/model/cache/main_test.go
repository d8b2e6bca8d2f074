package cache

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"moltbot/contracts"
	"moltbot/workers/model"
	"moltbot/workers/workerstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var must = workerstest.Must

// upstream counts its calls and answers as the test says.
type upstream struct {
	calls  atomic.Int32
	begun  chan struct{} // gets a token for each call; nil: nobody looks
	answer func(ctx context.Context, r model.Request) (model.Answer, error)
}

func (u *upstream) Complete(ctx context.Context, r model.Request) (model.Answer, error) {
	u.calls.Add(1)
	if u.begun != nil {
		u.begun <- struct{}{}
	}
	if u.answer == nil {
		return said("well"), nil
	}
	return u.answer(ctx, r)
}

// gated answers once open is closed.
func gated(open <-chan struct{}, a model.Answer) func(context.Context, model.Request) (model.Answer, error) {
	return func(ctx context.Context, _ model.Request) (model.Answer, error) {
		select {
		case <-open:
			return a, nil
		case <-ctx.Done():
			return model.Answer{}, ctx.Err()
		}
	}
}

func said(text string) model.Answer {
	return model.Answer{
		Text: text, Model: "m", Version: "p/m", Finish: "stop", Usage: contracts.Usage{PromptTokens: 3, CompletionTokens: 4},
		Tokens: 4, Cost: 0.5, FirstToken: time.Second,
	}
}

var warm = 0.7

func entryOf() contracts.ModelEntry {
	return contracts.ModelEntry{Provider: "p", Model: "m", Temperature: &warm, MaxTokens: 100}
}

func asking(caller, text string) model.Request {
	return model.Request{Caller: caller, Model: "m", Messages: []model.Message{{Role: model.RoleUser, Text: text}}}
}

// replica is the cache of one process.
func replica(t *testing.T, rdb redis.UniversalClient, change ...func(*Options)) *Cache {
	t.Helper()
	o := Options{
		Redis: rdb, Sealer: workerstest.Sealer{}, Namer: workerstest.Namer(t), Log: zerolog.Nop(), Watch: time.Nanosecond, Pause: time.Nanosecond,
	}
	for _, f := range change {
		f(&o)
	}
	c, err := New(o)
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

func (c *Cache) over(u *upstream) model.Completer { return c.Wrap(u, "name", entryOf()) }

// joined waits until n requests want the one flight that is under way.
func (c *Cache) joined(t *testing.T, n int) {
	t.Helper()
	workerstest.Eventually(t, "all have joined", func() bool {
		c.flights.mu.Lock()
		defer c.flights.mu.Unlock()
		for _, f := range c.flights.open {
			return f.wanted == n
		}
		return false
	})
}

// result is what a Completer gave.
type result struct {
	answer model.Answer
	err    error
}

// begin asks on a goroutine of its own.
func begin(ctx context.Context, c model.Completer, r model.Request) <-chan result {
	out := make(chan result, 1)
	go func() {
		a, err := c.Complete(ctx, r)
		out <- result{a, err}
	}()
	return out
}

// reader collects what a client reads along.
type reader struct {
	mu     sync.Mutex
	pieces []string
}

func (r *reader) add(piece string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pieces = append(r.pieces, piece)
}

func (r *reader) read() (text string, pieces int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pieces {
		text += p
	}
	return text, len(r.pieces)
}
