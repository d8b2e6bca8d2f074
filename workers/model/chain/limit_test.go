package chain_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
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

// sum adds a gauge's values.
func sum(t *testing.T, from prometheus.Gatherer, name string) (total float64) {
	t.Helper()
	families, err := from.Gather()
	workerstest.Must(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				total += m.GetGauge().GetValue()
			}
		}
	}
	return total
}

func TestChainsShareTheCallsOfAModel(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		const calls = 12
		inside := newCrowd()
		table := func(revision int64, limit int) *contracts.Router {
			return router(t, revision, "a", entries{"a": {Provider: "p", Model: "m", MaxConcurrent: limit, AnyModel: true}, "free": {Provider: "p", Model: "free"}})
		}
		var chains []*chain.Chain
		seen := prometheus.NewRegistry()
		for _, node := range []string{"n1", "n2"} {
			chains = append(chains, build(t, table(1, 3), map[string]model.Completer{"p": inside}, func(o *chain.Options) {
				o.Redis, o.Node, o.Metrics = rdb, node, prometheus.WrapRegistererWith(prometheus.Labels{"node": node}, seen)
			}))
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
		workerstest.Eventually(t, "the others wait", func() bool { return sum(t, seen, "moltbot_model_calls_waiting") == calls-3 })
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

// Who would have to wait for a permit is sent on at once where the provider is
// left alone.
func TestNobodyQueuesForAProviderThatIsLeftAlone(t *testing.T) {
	inside := newCrowd()
	p := &fake{answer: func(ctx context.Context, r model.Request) (model.Answer, error) {
		if r.Model == "sick" {
			return model.Answer{}, failure(model.KindTimeout, 0)
		}
		return inside.Complete(ctx, r)
	}}
	r := router(t, 1, "a", entries{"a": {Provider: "p", Model: "m", MaxConcurrent: 1}, "sick": {Provider: "p", Model: "sick"}})
	c := build(t, r, map[string]model.Completer{"p": p}, func(o *chain.Options) { o.Redis, o.Node = workerstest.MiniRedis(t), "n" })
	var asking sync.WaitGroup
	asking.Go(func() {
		if _, err := ask(t, c, text("holds the permit")); err != nil {
			t.Error(err)
		}
	})
	workerstest.Await(t, "a call", inside.enter)
	for range 5 {
		_, _ = ask(t, c, contracts.Message{Text: "x", Model: "sick"})
	}
	refused := make(chan error, 1)
	asking.Go(func() { _, err := ask(t, c, text("x")); refused <- err })
	if err := workerstest.Await(t, "an answer without a permit", refused); !contracts.Retryable(err) {
		t.Errorf("error: %v", err)
	}
	close(inside.leave)
	asking.Wait()
}

func TestLimitNeedsRedis(t *testing.T) {
	r := router(t, 1, "a", entries{"a": {Provider: "p", Model: "m", MaxConcurrent: 1}})
	if _, err := chain.New(chain.Options{Router: r, Providers: map[string]model.Completer{"p": &fake{}}}); err == nil {
		t.Error("a limit without Redis was taken")
	}
}

// Whoever names a model of the table by a detour gets its price and its permits.
func TestADetourToAModelOfTheTable(t *testing.T) {
	rdb := workerstest.MiniRedis(t)
	seen := prometheus.NewRegistry()
	inside := newCrowd()
	var paid []float64
	c := build(t, router(t, 1, "any", entries{
		"any": {Provider: "p", Model: "small", AnyModel: true, InputPrice: 1}, "dear": {Provider: "p", Model: "large", MaxConcurrent: 1, InputPrice: 7, OutputPrice: 9},
	}), map[string]model.Completer{"p": inside}, func(o *chain.Options) {
		o.Redis, o.Node, o.Metrics = rdb, "n", seen
		o.Each = func(c model.Completer, _, _ string, e contracts.ModelEntry) model.Completer {
			paid = []float64{e.InputPrice, e.OutputPrice}
			return c
		}
	})
	var asking sync.WaitGroup
	for range 2 {
		choice, err := c.Choose(contracts.Message{Text: "x", Model: "any/large"})
		workerstest.Must(t, err)
		asking.Go(func() {
			if _, err := choice.Complete(t.Context(), model.Request{}); err != nil {
				t.Error(err)
			}
		})
	}
	equal(t, "prices", [2]float64(paid), [2]float64{7, 9})
	workerstest.Await(t, "a call", inside.enter)
	workerstest.Eventually(t, "the other one waits", func() bool { return sum(t, seen, "moltbot_model_calls_waiting") == 1 })
	close(inside.leave)
	asking.Wait()
	equal(t, "calls at a time", inside.most.Load(), 1)
	if _, err := c.Choose(contracts.Message{Text: "x", Model: "any/new"}); err != nil || paid[0] != 0 {
		t.Errorf("one that is not there: %v, prices %v", err, paid)
	}
}
