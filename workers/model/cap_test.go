package model_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/workers/model"
	"moltbot/workers/model/modeltest"
	"moltbot/workers/model/openai"
	"moltbot/workers/workerstest"
)

// line is one process' way to Redis, which a test can cut.
type line struct {
	redis.Scripter
	cut  atomic.Bool
	asks atomic.Int64
}

var errCut = errors.New("the line is cut")

func (l *line) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	l.asks.Add(1)
	if l.cut.Load() {
		c := redis.NewCmd(ctx)
		c.SetErr(errCut)
		return c
	}
	return l.Scripter.EvalSha(ctx, sha, keys, args...)
}

// capped gives one process' share of the cap.
func capped(t *testing.T, rdb redis.Scripter, inner model.Completer, change func(*model.CapOptions)) (*model.Capped, *line) {
	t.Helper()
	l := &line{Scripter: rdb}
	o := model.CapOptions{
		Redis: l, Log: zerolog.Nop(), Model: "stand-in/m", Node: fmt.Sprintf("%p", l), Limit: 5,
		Lease: 2 * time.Second, Renew: 100 * time.Millisecond, Ask: 20 * time.Millisecond, Call: 400 * time.Millisecond,
	}
	if change != nil {
		change(&o)
	}
	c, err := model.NewCapped(inner, o)
	workerstest.Must(t, err)
	t.Cleanup(func() { workerstest.Must(t, c.Close()) })
	return c, l
}

// completer is a model made of a function.
type completer func(context.Context) error

func (f completer) Complete(ctx context.Context, _ model.Request) (model.Answer, error) {
	return model.Answer{Text: "x"}, f(ctx)
}

// hall is a model whose calls stay until they are let out.
type hall struct {
	entered chan string
	out     chan struct{}
	now     atomic.Int32
}

func newHall() *hall { return &hall{entered: make(chan string, 1000), out: make(chan struct{})} }

func (h *hall) door(name string) completer {
	return func(ctx context.Context) error {
		h.now.Add(1)
		defer h.now.Add(-1)
		h.entered <- name
		select {
		case <-h.out:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// calls makes n calls and gives the channel of their ends.
func calls(ctx context.Context, c model.Completer, n int) chan error {
	ends := make(chan error, n)
	for range n {
		go func() {
			_, err := c.Complete(ctx, model.Request{})
			ends <- err
		}()
	}
	return ends
}

func await(t *testing.T, what string, ends chan error, n int) {
	t.Helper()
	for range n {
		workerstest.Must(t, workerstest.Await(t, what, ends))
	}
}

// meter counts the requests that a provider has at the same time.
type meter struct {
	inner     http.Handler
	now, most atomic.Int32
	served    atomic.Int32
}

func (m *meter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := m.now.Add(1)
	for top := m.most.Load(); n > top && !m.most.CompareAndSwap(top, n); top = m.most.Load() {
	}
	m.inner.ServeHTTP(w, r)
	m.now.Add(-1)
	m.served.Add(1)
}

// provider gives a metered provider and a client of it for each process.
func provider(t *testing.T, latency time.Duration) (*meter, model.Completer) {
	t.Helper()
	s := modeltest.New(modeltest.Options{Behave: func(modeltest.Request) modeltest.Behavior {
		return modeltest.Behavior{Latency: latency}
	}})
	t.Cleanup(s.Close)
	m := &meter{inner: s}
	front := httptest.NewServer(m)
	t.Cleanup(front.Close)
	c, err := openai.New(openai.Options{Provider: "stand-in", Endpoint: front.URL + "/v1", FirstToken: 20 * time.Second})
	workerstest.Must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return m, c
}

var asking = model.Request{Messages: []model.Message{{Role: model.RoleUser, Text: "hello"}}}

// Three processes, with 4, then 32, then 2 calls wanted at a time by each: the
// provider never sees more than the cap, and every call is served.
func TestCapHoldsWhateverTheSlots(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		const limit = 7
		m, inner := provider(t, 4*time.Millisecond)
		var all sync.WaitGroup
		var failed atomic.Int32
		want := 0
		for range 3 {
			c, _ := capped(t, rdb, inner, func(o *model.CapOptions) { o.Limit = limit })
			all.Go(func() {
				for _, slots := range []int{4, 32, 2} {
					var phase sync.WaitGroup
					for range slots {
						phase.Go(func() {
							for range 96 / slots {
								if _, err := c.Complete(context.Background(), asking); err != nil {
									failed.Add(1)
								}
							}
						})
					}
					phase.Wait()
				}
			})
			want += 3 * 96
		}
		all.Wait()
		if top := m.most.Load(); top > limit || top < limit-1 {
			t.Errorf("%d calls at a time, the cap is %d", top, limit)
		}
		if n := m.served.Load(); int(n) != want || failed.Load() != 0 {
			t.Errorf("%d of %d served, %d failed", n, want, failed.Load())
		}
	})
}

// A process that dies takes its permits along until its lease ends; then the
// others have them, and never more than the cap.
func TestCapOutlivesAProcess(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		h := newHall()
		a, wire := capped(t, rdb, h.door("a"), nil)
		b, _ := capped(t, rdb, h.door("b"), nil)
		alive, kill := context.WithCancel(t.Context())
		dying := calls(alive, a, 5)
		for range 5 {
			workerstest.Await(t, "all permits are taken", h.entered)
		}
		ends := calls(t.Context(), b, 5)
		wire.cut.Store(true)
		killed := time.Now()
		kill()
		for range 5 {
			workerstest.Await(t, "its calls are cut", dying)
		}
		for range 5 {
			if who := workerstest.Await(t, "the other one has the permits", h.entered); who != "b" {
				t.Errorf("%s calls", who)
			}
		}
		if took := time.Since(killed); took < time.Second {
			t.Errorf("the permits of the dead were given away after %s", took)
		}
		if n := h.now.Load(); n > 5 {
			t.Errorf("%d calls at a time", n)
		}
		close(h.out)
		await(t, "all are served", ends, 5)
	})
}

// Two processes that both want more than there is get half each, and with less
// than one for each they take turns.
func TestCapIsShared(t *testing.T) {
	for _, limit := range []int{1, 2, 5} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
				var served [2]atomic.Int32
				var now, most atomic.Int32
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				var all sync.WaitGroup
				for i := range served {
					c, _ := capped(t, rdb, completer(func(ctx context.Context) error {
						most.Store(max(most.Load(), now.Add(1)))
						defer now.Add(-1)
						tick := time.NewTimer(2 * time.Millisecond)
						defer tick.Stop()
						<-tick.C
						return nil
					}), func(o *model.CapOptions) { o.Limit = limit })
					for range 20 {
						all.Go(func() {
							for ctx.Err() == nil {
								if _, err := c.Complete(ctx, asking); err == nil {
									served[i].Add(1)
								}
							}
						})
					}
					// The second one comes when the first one has everything.
					workerstest.Eventually(t, "the first ones are served", func() bool { return served[i].Load() > 20 })
				}
				a, b := served[0].Load(), served[1].Load()
				workerstest.Eventually(t, "both go on", func() bool {
					return served[0].Load() > a+60 && served[1].Load() > b+60
				})
				a, b = served[0].Load()-a, served[1].Load()-b
				stop()
				all.Wait()
				if a > 4*b || b > 4*a {
					t.Errorf("one was served %d times while the other was %d times", a, b)
				}
				if n := most.Load(); int(n) > limit {
					t.Errorf("%d calls at a time", n)
				}
			})
		})
	}
}

// While Redis is away, what is held stays usable until its lease ends; then
// nothing new begins until Redis is back.
func TestCapWithoutRedis(t *testing.T) {
	h := newHall()
	c, wire := capped(t, workerstest.MiniRedis(t), h.door("a"), func(o *model.CapOptions) { o.Limit = 2 })
	ends := calls(t.Context(), c, 4)
	workerstest.Await(t, "first", h.entered)
	workerstest.Await(t, "second", h.entered)
	workerstest.Eventually(t, "two run and two wait", func() bool { return c.State() == model.CapState{Held: 2, Running: 2, Waiting: 2} })
	wire.cut.Store(true)
	workerstest.Eventually(t, "it was refused", func() bool { return c.State().Failures > 1 })
	h.out <- struct{}{}
	workerstest.Await(t, "the place of the first is used again", h.entered)
	asked := wire.asks.Load()
	gone := time.Now()
	workerstest.Eventually(t, "the lease is over", func() bool { return time.Since(gone) > 2100*time.Millisecond })
	h.out <- struct{}{} // ends one; its place must not be used
	if n := wire.asks.Load(); n <= asked {
		t.Error("it does not ask any more")
	}
	asked = wire.asks.Load()
	workerstest.Eventually(t, "it asks on", func() bool { return wire.asks.Load() > asked+2 })
	if len(h.entered) != 0 {
		t.Error("a call began without a lease")
	}
	wire.cut.Store(false)
	workerstest.Await(t, "it begins when Redis is back", h.entered)
	close(h.out)
	await(t, "all are served", ends, 4)
}

func TestCapWaitsInOrderAndGivesUp(t *testing.T) {
	h := newHall()
	c, _ := capped(t, workerstest.MiniRedis(t), h.door("a"), func(o *model.CapOptions) { o.Limit, o.Wait = 1, 150*time.Millisecond })
	first := calls(t.Context(), c, 1)
	workerstest.Await(t, "first", h.entered)
	_, err := c.Complete(t.Context(), asking)
	var e *contracts.Error
	if !errors.As(err, &e) || e.Code != contracts.CodeModelFailed || !e.Retryable || e.RetryAfter == 0 {
		t.Errorf("the wait ended with %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	left := calls(ctx, c, 1)
	cancel()
	if err := workerstest.Await(t, "left", left); !errors.Is(err, context.Canceled) {
		t.Errorf("a wait that was cancelled ended with %v", err)
	}
	close(h.out)
	await(t, "first ends", first, 1)
	await(t, "the permit is not lost", calls(t.Context(), c, 1), 1)
}

// The time-outs of the model begin with the permit.
func TestCapWaitIsNotTheModels(t *testing.T) {
	s := modeltest.New(modeltest.Options{})
	t.Cleanup(s.Close)
	inner, err := openai.New(openai.Options{Provider: "stand-in", Endpoint: s.URL, FirstToken: time.Second, Total: time.Second})
	workerstest.Must(t, err)
	t.Cleanup(func() { _ = inner.Close() })
	rdb := workerstest.MiniRedis(t)
	one := func(o *model.CapOptions) { o.Limit = 1 }
	h := newHall()
	a, _ := capped(t, rdb, h.door("a"), one)
	b, _ := capped(t, rdb, inner, one)
	holding := calls(t.Context(), a, 1)
	workerstest.Await(t, "the permit is taken", h.entered)
	began := time.Now()
	ends := make(chan error, 1)
	go func() {
		_, err := b.Complete(t.Context(), asking)
		ends <- err
	}()
	workerstest.Eventually(t, "longer than the model may take", func() bool { return time.Since(began) > 1200*time.Millisecond })
	close(h.out)
	await(t, "answered all the same", ends, 1)
	await(t, "ends", holding, 1)
}

// What is not needed is given back soon, and nothing is asked while nothing is held.
func TestCapGivesBack(t *testing.T) {
	rdb := workerstest.MiniRedis(t)
	c, _ := capped(t, rdb, completer(func(context.Context) error { return nil }), nil)
	await(t, "served", calls(t.Context(), c, 3), 3)
	workerstest.Eventually(t, "given back", func() bool {
		n, err := rdb.Exists(t.Context(), contracts.KeyCap("stand-in/m")).Result()
		return err == nil && n == 0
	})
	workerstest.Must(t, c.Close())
	if _, err := c.Complete(t.Context(), asking); err == nil || !contracts.Retryable(err) {
		t.Errorf("after Close a call ends with %v", err)
	}
}

func TestCapOptions(t *testing.T) {
	good := model.CapOptions{Redis: workerstest.MiniRedis(t), Model: "m", Node: "n", Limit: 1}
	if _, err := model.NewCapped(model.Demo{}, good); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*model.CapOptions){
		"no redis": func(o *model.CapOptions) { o.Redis = nil }, "no model": func(o *model.CapOptions) { o.Model = "" },
		"no node": func(o *model.CapOptions) { o.Node = "" }, "no limit": func(o *model.CapOptions) { o.Limit = 0 },
		"renews too late": func(o *model.CapOptions) { o.Renew = 3 * time.Second },
		"asks too long":   func(o *model.CapOptions) { o.Call = 3 * time.Second },
	} {
		o := good
		change(&o)
		if _, err := model.NewCapped(model.Demo{}, o); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
