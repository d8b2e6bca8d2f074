package chain_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"moltbot/contracts"
	"moltbot/workers/model"
	"moltbot/workers/model/chain"
	"moltbot/workers/workerstest"
)

// switching is a provider whose failure can be chosen, and that can be held.
type switching struct {
	fake
	kind atomic.Uint32
	hold chan struct{} // nil: nothing is held
}

func newSwitching(kind model.Kind) *switching {
	s := &switching{}
	s.kind.Store(uint32(kind))
	s.answer = func(ctx context.Context, _ model.Request) (model.Answer, error) {
		if s.hold != nil {
			select {
			case <-s.hold:
			case <-ctx.Done():
				return model.Answer{}, ctx.Err()
			}
		}
		if kind := model.Kind(s.kind.Load()); kind != model.KindNone {
			return model.Answer{}, failure(kind, time.Second)
		}
		return model.Answer{Text: "x"}, nil
	}
	return s
}

// pass lets the time pass for which a breaker is open. It takes none: the clock
// is the bubble's.
func pass() { <-time.After(5 * time.Second) }

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func one(t *testing.T) *contracts.Router {
	return router(t, 1, "a", entries{"a": {Provider: "p", Model: "m"}})
}

// mute makes a chain whose clock is the bubble's.
func mute(t *testing.T, r *contracts.Router, providers map[string]model.Completer) *chain.Chain {
	return build(t, r, providers, nil)
}

func TestBreakerOpensTriesAndCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSwitching(model.KindTimeout)
		c := mute(t, one(t), map[string]model.Completer{"p": p})
		for range 20 {
			_, err := ask(t, c, text("x"))
			if !contracts.Retryable(err) {
				t.Fatalf("error: %v", err)
			}
		}
		if n := len(p.requests()); n != 5 {
			t.Fatalf("%d calls before it opened", n)
		}
		_, err := ask(t, c, text("x"))
		if e := contracts.Public(err); e.RetryAfter != 5*time.Second || model.KindOf(err) != model.KindNone {
			t.Errorf("open: %+v", e)
		}
		pass()
		for range 3 { // one may try, and fails
			_, err = ask(t, c, text("x"))
			equal(t, "retryable", contracts.Retryable(err), true)
		}
		equal(t, "calls after the first trial", len(p.requests()), 6)
		p.kind.Store(uint32(model.KindNone))
		pass()
		for range 3 {
			_, err = ask(t, c, text("x"))
			workerstest.Must(t, err)
		}
		equal(t, "calls after it closed", len(p.requests()), 9)
	})
}

func TestOneCallAtATimeTriesAnOpenBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSwitching(model.KindTimeout)
		c := mute(t, one(t), map[string]model.Completer{"p": p})
		for range 5 {
			_, _ = ask(t, c, text("x"))
		}
		pass()
		p.hold = make(chan struct{})
		p.kind.Store(uint32(model.KindNone))
		trial := make(chan error, 1)
		go func() { _, err := ask(t, c, text("trial")); trial <- err }()
		synctest.Wait()
		_, err := ask(t, c, text("x"))
		if e := contracts.Public(err); e.RetryAfter != time.Second {
			t.Errorf("beside the trial: %v", err)
		}
		equal(t, "calls", len(p.requests()), 6)
		close(p.hold)
		workerstest.Must(t, <-trial)
		_, err = ask(t, c, text("x"))
		workerstest.Must(t, err)
	})
}

func TestTrialThatIsGivenUpDoesNotShutForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSwitching(model.KindTimeout)
		c := mute(t, one(t), map[string]model.Completer{"p": p})
		for range 5 {
			_, _ = ask(t, c, text("x"))
		}
		pass()
		p.hold = make(chan struct{})
		choice, err := c.Choose(text("x"))
		workerstest.Must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() { _, err := choice.Complete(ctx, model.Request{}); gone <- err }()
		synctest.Wait()
		cancel()
		<-gone
		p.hold = nil
		p.kind.Store(uint32(model.KindNone))
		pass()
		_, err = ask(t, c, text("x"))
		workerstest.Must(t, err)
	})
}

// A message whose client has left already does not use up the trial.
func TestWhoHasLeftIsNoTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSwitching(model.KindTimeout)
		c := mute(t, one(t), map[string]model.Completer{"p": p})
		for range 5 {
			_, _ = ask(t, c, text("x"))
		}
		p.kind.Store(uint32(model.KindNone))
		pass()
		choice, err := c.Choose(text("x"))
		workerstest.Must(t, err)
		gone, leave := context.WithCancel(t.Context())
		leave()
		if _, err := choice.Complete(gone, model.Request{}); !errors.Is(err, context.Canceled) {
			t.Errorf("who has left: %v", err)
		}
		_, err = ask(t, c, text("x"))
		workerstest.Must(t, err)
	})
}

func TestWhatCountsAgainstAProvider(t *testing.T) {
	for kind, counts := range map[model.Kind]bool{
		model.KindDown: true, model.KindTimeout: true, model.KindAnswer: true, model.KindOperator: true,
		model.KindBusy: false, model.KindRequest: false, model.KindTooLong: false, model.KindFiltered: false, model.KindUnknown: false,
		model.KindOversize: false, model.KindUnfit: false, model.KindLong: false, model.KindNoRoom: false,
	} {
		t.Run(kind.String(), func(t *testing.T) {
			p := newSwitching(kind)
			c := mute(t, one(t), map[string]model.Completer{"p": p})
			for range 10 {
				_, _ = ask(t, c, text("x"))
			}
			p.kind.Store(uint32(model.KindNone))
			if _, err := ask(t, c, text("x")); (err != nil) != counts {
				t.Errorf("after ten failures: %v", err)
			}
		})
	}
}

func TestCallersWhoGiveUpDoNotCount(t *testing.T) {
	p := newSwitching(model.KindNone)
	p.hold = make(chan struct{})
	c := mute(t, one(t), map[string]model.Completer{"p": p})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	choice, err := c.Choose(text("x"))
	workerstest.Must(t, err)
	for range 10 {
		_, _ = choice.Complete(ctx, model.Request{})
	}
	close(p.hold)
	_, err = ask(t, c, text("x"))
	workerstest.Must(t, err)
}

func TestBreakerStaysWhenTheTableChanges(t *testing.T) {
	p, spare := newSwitching(model.KindTimeout), &fake{}
	providers := map[string]model.Completer{"p": p, "q": spare}
	c := mute(t, router(t, 1, "a", entries{"a": {Provider: "p", Model: "m", Fallback: []string{"b"}}, "b": {Provider: "q", Model: "n"}}), providers)
	for range 5 {
		_, err := ask(t, c, text("x"))
		workerstest.Must(t, err)
	}
	workerstest.Must(t, c.Use(router(t, 2, "z", entries{"z": {Provider: "p", Model: "other", Fallback: []string{"b"}}, "b": {Provider: "q", Model: "n"}})))
	a, err := ask(t, c, text("x"))
	if err != nil || a.Version != "q/n" || len(p.requests()) != 5 {
		t.Errorf("answered by %s, %v; %d calls of the sick provider", a.Version, err, len(p.requests()))
	}
	fresh := newSwitching(model.KindNone) // with a new key
	workerstest.Must(t, c.SetProviders(map[string]model.Completer{"p": fresh, "q": spare}))
	if a, err = ask(t, c, text("x")); err != nil || a.Version != "p/other" {
		t.Errorf("with a new key: %s, %v", a.Version, err)
	}
}

func TestCallThatPanicsGivesBackItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSwitching(model.KindTimeout)
		c := mute(t, one(t), map[string]model.Completer{"p": p})
		for range 5 {
			_, _ = ask(t, c, text("x"))
		}
		answer := p.answer
		p.answer = func(context.Context, model.Request) (model.Answer, error) { panic("no") }
		pass()
		func() {
			defer func() { equal(t, "panic", recover(), any("no")) }()
			_, _ = ask(t, c, text("x"))
		}()
		p.answer = answer
		p.kind.Store(uint32(model.KindNone))
		pass()
		_, err := ask(t, c, text("x"))
		workerstest.Must(t, err)
	})
}
