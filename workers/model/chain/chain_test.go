package chain_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"moltbot/contracts"
	"moltbot/workers/model"
	"moltbot/workers/model/chain"
	"moltbot/workers/workerstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a provider made of a function. It notes what it was asked.
type fake struct {
	answer func(ctx context.Context, r model.Request) (model.Answer, error)

	mu    sync.Mutex
	asked []model.Request
}

func (f *fake) Complete(ctx context.Context, r model.Request) (model.Answer, error) {
	f.mu.Lock()
	f.asked = append(f.asked, r)
	f.mu.Unlock()
	if f.answer == nil {
		return model.Answer{Text: "fine", Finish: "stop"}, nil
	}
	return f.answer(ctx, r)
}

func (f *fake) requests() []model.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]model.Request(nil), f.asked...)
}

// failing is a provider that always fails the same way.
func failing(kind model.Kind) *fake {
	return &fake{answer: func(context.Context, model.Request) (model.Answer, error) {
		return model.Answer{}, failure(kind, time.Second)
	}}
}

// failure is an error as a provider's client gives it.
func failure(kind model.Kind, wait time.Duration) error {
	e := &contracts.Error{Code: contracts.CodeModelFailed, Message: kind.String(), Err: &model.Failure{Kind: kind, Text: kind.String()}}
	switch kind {
	case model.KindBusy, model.KindDown, model.KindTimeout, model.KindLong, model.KindAnswer, model.KindUnfit, model.KindOperator:
		e.Retryable, e.RetryAfter = true, wait
	}
	return e
}

type entries map[string]contracts.ModelEntry

// router makes a table whose first model is the default.
func router(t *testing.T, revision int64, first string, models entries, routes ...contracts.ModelRoute) *contracts.Router {
	t.Helper()
	r, err := contracts.NewRouter(contracts.ModelTable{Default: first, Models: models, Routes: routes}, revision)
	workerstest.Must(t, err)
	return r
}

// build makes a chain that waits for nothing.
func build(t *testing.T, r *contracts.Router, providers map[string]model.Completer, change func(*chain.Options)) *chain.Chain {
	t.Helper()
	o := chain.Options{
		Router: r, Providers: providers, Log: zerolog.Nop(), Metrics: prometheus.NewRegistry(),
		Pause: func(context.Context, time.Duration) {},
	}
	if change != nil {
		change(&o)
	}
	c, err := chain.New(o)
	workerstest.Must(t, err)
	t.Cleanup(func() { workerstest.Must(t, c.Close()) })
	return c
}

// ask sends one message's text through c.
func ask(t *testing.T, c *chain.Chain, m contracts.Message) (model.Answer, error) {
	t.Helper()
	choice, err := c.Choose(m)
	if err != nil {
		return model.Answer{}, err
	}
	return choice.Complete(t.Context(), model.Request{
		Model: choice.Model, Messages: []model.Message{{Role: model.RoleUser, Text: choice.Text}},
	})
}

func text(s string) contracts.Message { return contracts.Message{Text: s} }

func TestChoosesByModelRouteAndText(t *testing.T) {
	p := &fake{}
	c := build(t, router(t, 7, "fast", entries{
		"fast": {Provider: "p", Model: "f-1", AnyModel: true}, "qwen": {Provider: "p", Model: "q-1"},
	}, contracts.ModelRoute{Pattern: "^/zh/", Model: "qwen"}), map[string]model.Completer{"p": p}, nil)
	for _, tc := range []struct {
		m           contracts.Message
		model, text string
	}{
		{text("hello"), "f-1", "hello"},
		{contracts.Message{Text: "hello", Route: "/zh/support"}, "q-1", "hello"},
		{text(" /zh/ 你好"), "q-1", "你好"},
		{text("/zh/"), "f-1", "/zh/"},
		{text("/de/ hallo"), "f-1", "/de/ hallo"},
		{contracts.Message{Text: "/zh/ hello", Model: "fast"}, "f-1", "/zh/ hello"},
		{contracts.Message{Text: "x", Model: "fast/other"}, "other", "x"},
		{contracts.Message{Text: "x", Model: "anything"}, "anything", "x"},
		{contracts.Message{Text: "/zh/ x", Prompt: `[{"role":"user","text":"/zh/ x"}]`}, "f-1", "/zh/ x"},
	} {
		choice, err := c.Choose(tc.m)
		workerstest.Must(t, err)
		if choice.Model != tc.model || choice.Text != tc.text || choice.Table != 7 {
			t.Errorf("%+v: model %q, text %q, table %d", tc.m, choice.Model, choice.Text, choice.Table)
		}
		a, err := choice.Complete(t.Context(), model.Request{})
		workerstest.Must(t, err)
		if a.Model != tc.model || a.Version != "p/"+tc.model {
			t.Errorf("%+v: answered as %q, %q", tc.m, a.Model, a.Version)
		}
	}
}

func TestUnknownModelIsFinal(t *testing.T) {
	c := build(t, router(t, 1, "a", entries{"a": {Provider: "p", Model: "m"}}), map[string]model.Completer{"p": &fake{}}, nil)
	_, err := c.Choose(contracts.Message{Model: "b"})
	if e := contracts.Public(err); e.Code != contracts.CodeModelUnknown || e.Retryable {
		t.Errorf("error: %v", err)
	}
}

func TestTableFillsWhatTheClientLeftOpen(t *testing.T) {
	p := &fake{}
	c := build(t, router(t, 1, "a", entries{"a": {Provider: "p", Model: "m", MaxTokens: 7, Temperature: new(0.5)}}),
		map[string]model.Completer{"p": p}, nil)
	choice, err := c.Choose(text("x"))
	workerstest.Must(t, err)
	for _, params := range []contracts.Params{{}, {MaxTokens: 3, Temperature: new(0.0)}} {
		_, err := choice.Complete(t.Context(), model.Request{Params: params})
		workerstest.Must(t, err)
	}
	got := p.requests()
	if r := got[0].Params; r.MaxTokens != 7 || *r.Temperature != 0.5 || got[0].Model != "m" {
		t.Errorf("left open: %+v", got[0])
	}
	if r := got[1].Params; r.MaxTokens != 3 || *r.Temperature != 0 {
		t.Errorf("chosen: %+v", r)
	}
}

func TestTableChangesUnderLoad(t *testing.T) {
	entered, open := make(chan struct{}), make(chan struct{})
	p := &fake{answer: func(context.Context, model.Request) (model.Answer, error) {
		entered <- struct{}{}
		<-open
		return model.Answer{Text: "x"}, nil
	}}
	c := build(t, router(t, 1, "a", entries{"a": {Provider: "p", Model: "old"}}), map[string]model.Completer{"p": p}, nil)
	const n = 50
	before, err := c.Choose(text("chosen, not begun"))
	workerstest.Must(t, err)
	answers := make(chan model.Answer, n)
	var asking sync.WaitGroup
	for range n {
		asking.Go(func() {
			a, err := ask(t, c, text("x"))
			if err != nil {
				t.Error(err)
			}
			answers <- a
		})
		<-entered
	}
	workerstest.Must(t, c.Use(router(t, 2, "b", entries{"b": {Provider: "p", Model: "new"}})))
	if err := c.Use(router(t, 3, "c", entries{"c": {Provider: "nobody", Model: "x"}})); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("a table of an unknown provider: %v", err)
	}
	close(open)
	asking.Wait()
	for range n {
		if a := <-answers; a.Version != "p/old" {
			t.Errorf("a message that had begun was answered by %s", a.Version)
		}
	}
	go func() {
		for range 2 {
			<-entered
		}
	}()
	a, err := before.Complete(t.Context(), model.Request{})
	if err != nil || a.Version != "p/old" {
		t.Errorf("a message that was chosen for: %s, %v", a.Version, err)
	}
	if a, err := ask(t, c, text("x")); err != nil || a.Version != "p/new" || c.Router().Revision != 2 {
		t.Errorf("after the change: %s, %v", a.Version, err)
	}
}

func TestProvidersChange(t *testing.T) {
	old, fresh := &fake{}, &fake{}
	c := build(t, router(t, 1, "a", entries{"a": {Provider: "p", Model: "m"}}), map[string]model.Completer{"p": old}, nil)
	if err := c.SetProviders(map[string]model.Completer{"other": fresh}); err == nil {
		t.Error("a provider that the table needs was lost")
	}
	workerstest.Must(t, c.SetProviders(map[string]model.Completer{"p": fresh, "other": old}))
	_, err := ask(t, c, text("x"))
	workerstest.Must(t, err)
	if len(old.requests()) != 0 || len(fresh.requests()) != 1 {
		t.Errorf("asked: old %d, new %d", len(old.requests()), len(fresh.requests()))
	}
}

func TestWrapIsOutermostAndEachIsAroundEveryCall(t *testing.T) {
	var wrapped, each []string
	seen := func(into *[]string, name string, c model.Completer) model.Completer {
		return &fake{answer: func(ctx context.Context, r model.Request) (model.Answer, error) {
			*into = append(*into, name)
			return c.Complete(ctx, r)
		}}
	}
	c := build(t, router(t, 1, "a", entries{
		"a": {Provider: "p", Model: "m", Fallback: []string{"b"}, AnyModel: true, InputPrice: 5}, "b": {Provider: "q", Model: "n"},
	}), map[string]model.Completer{"p": failing(model.KindDown), "q": &fake{}}, func(o *chain.Options) {
		o.Wrap = func(c model.Completer, name string, e contracts.ModelEntry) model.Completer {
			return seen(&wrapped, name+"="+e.Model, c)
		}
		o.Each = func(c model.Completer, provider, name string, e contracts.ModelEntry) model.Completer {
			if e.Model == "free" && e.InputPrice != 0 {
				t.Error("a model that is not in the table has another one's price")
			}
			return seen(&each, provider+"/"+name+"="+e.Model, c)
		}
	})
	_, err := ask(t, c, text("x"))
	workerstest.Must(t, err)
	_, err = ask(t, c, contracts.Message{Text: "x", Model: "free"})
	if err == nil {
		t.Error("a model that has no fall-back was answered")
	}
	if want := []string{"a=m", "a=free"}; !reflect.DeepEqual(wrapped, want) {
		t.Errorf("wrapped: %v", wrapped)
	}
	if want := []string{"p/a=m", "p/a=m", "q/b=n", "p/a=free", "p/a=free"}; !reflect.DeepEqual(each, want) {
		t.Errorf("each: %v", each)
	}
}

func TestCallerWhoGivesUpStopsTheChain(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	first := &fake{answer: func(ctx context.Context, _ model.Request) (model.Answer, error) {
		cancel()
		return model.Answer{}, ctx.Err()
	}}
	second := &fake{}
	c := build(t, router(t, 1, "a", entries{"a": {Provider: "p", Model: "m", Fallback: []string{"b"}}, "b": {Provider: "q", Model: "n"}}),
		map[string]model.Completer{"p": first, "q": second}, nil)
	choice, err := c.Choose(text("x"))
	workerstest.Must(t, err)
	if _, err := choice.Complete(ctx, model.Request{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error: %v", err)
	}
	if len(second.requests()) != 0 {
		t.Error("the fall-back was asked for a caller who gave up")
	}
}
