package chain_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/workers/model"
	"moltbot/workers/model/chain"
	"moltbot/workers/workerstest"
)

// crowd is a provider that counts the calls that run at a time.
type crowd struct {
	now, most atomic.Int64
	enter     chan struct{}
	leave     chan struct{}
}

func newCrowd() *crowd { return &crowd{enter: make(chan struct{}, 100), leave: make(chan struct{})} }

func (c *crowd) Complete(context.Context, model.Request) (model.Answer, error) {
	n := c.now.Add(1)
	for most := c.most.Load(); n > most && !c.most.CompareAndSwap(most, n); most = c.most.Load() {
	}
	c.enter <- struct{}{}
	<-c.leave
	c.now.Add(-1)
	return model.Answer{Text: "x"}, nil
}

func TestChainsShareTheCallsOfAModel(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		const calls = 12
		inside := newCrowd()
		table := func(revision int64, limit int) *contracts.Router {
			return router(t, revision, "a", entries{"a": {Provider: "p", Model: "m", MaxConcurrent: limit, AnyModel: true}, "free": {Provider: "p", Model: "free"}})
		}
		var chains []*chain.Chain
		for _, node := range []string{"n1", "n2"} {
			chains = append(chains, build(t, table(1, 3), map[string]model.Completer{"p": inside}, func(o *chain.Options) { o.Redis, o.Node = rdb, node }))
		}
		var asking sync.WaitGroup
		begin := func(m contracts.Message) {
			for i := range calls {
				asking.Go(func() {
					if _, err := ask(t, chains[i%2], m); err != nil {
						t.Error(err)
					}
				})
			}
		}
		begin(contracts.Message{Text: "x", Model: "named-by-the-caller"}) // no way around the limit
		for range 3 {
			workerstest.Await(t, "a call", inside.enter)
		}
		equal(t, "calls at a time", inside.now.Load(), 3)
		for _, c := range chains { // a new limit holds for those that wait, too
			workerstest.Must(t, c.Use(table(2, 5)))
		}
		for range 2 {
			workerstest.Await(t, "a call under the new limit", inside.enter)
		}
		close(inside.leave)
		asking.Wait()
		if most := inside.most.Load(); most > 5 {
			t.Errorf("%d calls at a time", most)
		}
		_, err := ask(t, chains[0], contracts.Message{Text: "x", Model: "free"})
		workerstest.Must(t, err)
		for _, c := range chains {
			workerstest.Must(t, c.Use(table(3, 0)))
		}
		_, err = ask(t, chains[0], text("x"))
		workerstest.Must(t, err)
	})
}

func TestLimitNeedsRedis(t *testing.T) {
	r := router(t, 1, "a", entries{"a": {Provider: "p", Model: "m", MaxConcurrent: 1}})
	if _, err := chain.New(chain.Options{Router: r, Providers: map[string]model.Completer{"p": &fake{}}}); err == nil {
		t.Error("a limit without Redis was taken")
	}
}
