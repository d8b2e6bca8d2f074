package chain_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/workers/model"
	"moltbot/workers/model/chain"
	"moltbot/workers/workerstest"
)

// three is a table of a with the fall-backs b and c, each of its own provider.
func three(t *testing.T) *contracts.Router {
	return router(t, 1, "a", entries{
		"a": {Provider: "pa", Model: "ma", Fallback: []string{"b", "c"}}, "b": {Provider: "pb", Model: "mb"}, "c": {Provider: "pc", Model: "mc"},
	})
}

func TestFallbackByKindOfFailure(t *testing.T) {
	for kind, want := range map[model.Kind]struct {
		calls  int // of the chosen model
		answer string
	}{
		model.KindDown: {2, "pc/mc"}, model.KindAnswer: {2, "pc/mc"}, model.KindUnfit: {2, "pc/mc"}, // quick and passing: once more
		model.KindBusy: {1, "pc/mc"}, model.KindTimeout: {1, "pc/mc"}, model.KindOperator: {1, "pc/mc"},
		model.KindOversize: {1, "pc/mc"}, model.KindLong: {1, "pc/mc"}, model.KindUnknown: {1, "pc/mc"},
		model.KindRequest: {1, ""}, model.KindTooLong: {1, ""}, model.KindFiltered: {1, ""}, model.KindNoRoom: {1, ""},
	} {
		t.Run(kind.String(), func(t *testing.T) {
			a, b := failing(kind), failing(model.KindTimeout)
			c := build(t, three(t), map[string]model.Completer{"pa": a, "pb": b, "pc": &fake{}}, nil)
			answer, err := ask(t, c, text("x"))
			if answer.Version != want.answer || (err == nil) != (want.answer != "") {
				t.Errorf("answered by %q, %v", answer.Version, err)
			}
			if len(a.requests()) != want.calls || len(b.requests()) > 1 {
				t.Errorf("calls: %d of the chosen, %d of the first fall-back", len(a.requests()), len(b.requests()))
			}
			if want.answer == "" && model.KindOf(err) != kind {
				t.Errorf("error: %v", err)
			}
		})
	}
}

// A fall-back that cannot take the request says nothing about the model before it,
// which may be back when the message is tried again.
func TestAFallbackAtOddsWithTheRequestIsNotTheEnd(t *testing.T) {
	for _, kind := range []model.Kind{model.KindRequest, model.KindTooLong, model.KindFiltered, model.KindNoRoom} {
		odd, last := failing(kind), failing(model.KindBusy)
		c := build(t, three(t), map[string]model.Completer{"pa": failing(model.KindTimeout), "pb": odd, "pc": last}, nil)
		_, err := ask(t, c, text("x"))
		if !contracts.Retryable(err) || len(odd.requests()) != 1 || len(last.requests()) != 1 {
			t.Errorf("%s: %v; %d and %d calls", kind, err, len(odd.requests()), len(last.requests()))
		}
	}
}

func TestNothingFollowsTheFirstPiece(t *testing.T) {
	first := &fake{answer: func(_ context.Context, r model.Request) (model.Answer, error) {
		r.OnDelta("half an ans")
		return model.Answer{}, failure(model.KindDown, 0)
	}}
	second := &fake{}
	for _, apologize := range []bool{false, true} {
		c := build(t, three(t), map[string]model.Completer{"pa": first, "pb": second, "pc": second}, func(o *chain.Options) { o.Apologize = apologize })
		choice, err := c.Choose(text("x"))
		workerstest.Must(t, err)
		var shown []string
		_, err = choice.Complete(t.Context(), model.Request{OnDelta: func(s string) { shown = append(shown, s) }})
		if model.KindOf(err) != model.KindDown || len(shown) != 1 || len(second.requests()) != 0 {
			t.Errorf("error %v, shown %q, fall-back asked %d times", err, shown, len(second.requests()))
		}
	}
	if n := len(first.requests()); n != 2 {
		t.Errorf("%d calls for two messages", n)
	}
}

func TestRetryWaitsShortlyWithJitter(t *testing.T) {
	for _, tc := range []struct {
		name   string
		wait   time.Duration // that the provider asks for
		took   time.Duration
		jitter float64
		want   []time.Duration
	}{
		{name: "least", jitter: 0, want: []time.Duration{100 * time.Millisecond}},
		{name: "most", jitter: 1, want: []time.Duration{400 * time.Millisecond}},
		{name: "the provider wants more", wait: 2 * time.Second},
		{name: "it took long", took: 3 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			now := time.Unix(1, 0)
			var waits []time.Duration
			a := &fake{answer: func(context.Context, model.Request) (model.Answer, error) {
				now = now.Add(tc.took)
				return model.Answer{}, failure(model.KindDown, tc.wait)
			}}
			c := build(t, three(t), map[string]model.Completer{"pa": a, "pb": &fake{}, "pc": &fake{}}, func(o *chain.Options) {
				o.Now = func() time.Time { return now }
				o.Pause = func(_ context.Context, d time.Duration) { waits = append(waits, d) }
				o.Jitter = func(d time.Duration) time.Duration { return time.Duration(float64(d) * tc.jitter) }
			})
			answer, err := ask(t, c, text("x"))
			if err != nil || answer.Version != "pb/mb" || len(waits) != len(tc.want) || len(waits) == 1 && waits[0] != tc.want[0] {
				t.Errorf("answered by %s, %v; waits %v", answer.Version, err, waits)
			}
		})
	}
}

func TestAllDownIsOneError(t *testing.T) {
	c := build(t, three(t), map[string]model.Completer{
		"pa": failing(model.KindUnknown),
		"pb": &fake{answer: func(context.Context, model.Request) (model.Answer, error) {
			return model.Answer{}, failure(model.KindBusy, 30*time.Second)
		}},
		"pc": &fake{answer: func(context.Context, model.Request) (model.Answer, error) {
			return model.Answer{}, failure(model.KindTimeout, 3*time.Second)
		}},
	}, nil)
	_, err := ask(t, c, text("x"))
	e := contracts.Public(err)
	if !e.Retryable || e.RetryAfter != 3*time.Second || e.Code != contracts.CodeModelFailed || e.Message != "busy" {
		t.Errorf("error: %+v", e)
	}
	for _, part := range []string{"a: ", "unknown_model", "b: ", "c: "} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the operator's text lacks %q: %v", part, err)
		}
	}
}

// A bad answer of one is paid for on each try, however long the others are down: so
// the try must count as one of the message's.
func TestAPaidTryCounts(t *testing.T) {
	for kind, code := range map[model.Kind]contracts.Code{
		model.KindUnfit: contracts.CodeModelAnswer, model.KindAnswer: contracts.CodeModelAnswer, model.KindLong: contracts.CodeModelAnswer,
		model.KindOversize: contracts.CodeModelAnswer, model.KindNoRoom: contracts.CodeModelAnswer, model.KindFiltered: contracts.CodeModelAnswer,
		model.KindTimeout: contracts.CodeModelFailed, model.KindUnknown: contracts.CodeModelFailed, model.KindRequest: contracts.CodeModelFailed,
	} {
		c := build(t, three(t), map[string]model.Completer{"pa": failing(model.KindDown), "pb": failing(kind), "pc": failing(model.KindBusy)}, nil)
		_, err := ask(t, c, text("x"))
		if e := contracts.Public(err); e.Code != code || !e.Retryable {
			t.Errorf("%s: %+v", kind, e)
		}
	}
}

func TestTotalBoundsRetriesAndFallbacks(t *testing.T) {
	now := time.Unix(1, 0)
	slow := func() *fake {
		return &fake{answer: func(ctx context.Context, _ model.Request) (model.Answer, error) {
			now = now.Add(40 * time.Second)
			if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) > 20*time.Second {
				return model.Answer{}, errors.New("the second call has more time than is left")
			}
			return model.Answer{}, failure(model.KindTimeout, 0)
		}}
	}
	a, b, last := slow(), slow(), &fake{}
	c := build(t, three(t), map[string]model.Completer{"pa": a, "pb": b, "pc": last}, func(o *chain.Options) {
		o.Total, o.Now = time.Minute, func() time.Time { return now }
	})
	if _, err := ask(t, c, text("x")); !contracts.Retryable(err) || strings.Contains(err.Error(), "more time") {
		t.Errorf("error: %v", err)
	}
	if len(a.requests()) != 1 || len(b.requests()) != 1 || len(last.requests()) != 0 {
		t.Errorf("calls: %d, %d, %d", len(a.requests()), len(b.requests()), len(last.requests()))
	}
}

func TestTimeThatRunsOutIsATimeout(t *testing.T) {
	hang := &fake{answer: func(ctx context.Context, _ model.Request) (model.Answer, error) {
		<-ctx.Done()
		return model.Answer{}, ctx.Err()
	}}
	c := build(t, three(t), map[string]model.Completer{"pa": failing(model.KindTimeout), "pb": hang, "pc": hang}, func(o *chain.Options) {
		o.Total = 20 * time.Millisecond
	})
	_, err := ask(t, c, text("x"))
	if e := contracts.Public(err); !e.Retryable || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error: %v", err)
	}
}

func TestTooLongAPromptIsTrimmedOnce(t *testing.T) {
	conversation := func() []model.Message {
		said := func(role contracts.Role, s string) model.Message { return model.Message{Role: role, Text: s} }
		return []model.Message{
			said(model.RoleSystem, "be brief"), said(model.RoleUser, "u1"), said(model.RoleAssistant, "a1"),
			said(model.RoleUser, "u2"), said(model.RoleAssistant, "a2"), said(model.RoleUser, "u3"), said(model.RoleTool, "t3"),
		}
	}
	for _, fits := range []int{5, 1} { // messages that the model has room for
		a := &fake{answer: func(_ context.Context, r model.Request) (model.Answer, error) {
			if len(r.Messages) > fits {
				return model.Answer{}, failure(model.KindTooLong, 0)
			}
			return model.Answer{Text: "x"}, nil
		}}
		c := build(t, three(t), map[string]model.Completer{"pa": a, "pb": &fake{}, "pc": &fake{}}, nil)
		choice, err := c.Choose(text("x"))
		workerstest.Must(t, err)
		asked := conversation()
		_, err = choice.Complete(t.Context(), model.Request{Messages: asked})
		if (err == nil) != (fits == 5) || len(a.requests()) != 2 {
			t.Errorf("room for %d: %v after %d calls", fits, err, len(a.requests()))
		}
		var texts []string
		for _, m := range a.requests()[1].Messages {
			texts = append(texts, m.Text)
		}
		if got := strings.Join(texts, " "); got != "be brief u2 a2 u3 t3" {
			t.Errorf("trimmed to %q", got)
		}
		if len(asked) != 7 || asked[1].Text != "u1" {
			t.Error("the caller's messages were changed")
		}
	}
}

func TestApologyIsOneFinalAnswer(t *testing.T) {
	for _, tc := range []struct{ text, own, want string }{
		{"hello", "", "I am sorry"}, {"你好", "", "抱歉"}, {"你好", "Later!", "Later!"},
	} {
		c := build(t, three(t), map[string]model.Completer{"pa": failing(model.KindBusy), "pb": failing(model.KindTimeout), "pc": failing(model.KindOversize)},
			func(o *chain.Options) { o.Apologize, o.Apology = true, tc.own })
		choice, err := c.Choose(text(tc.text))
		workerstest.Must(t, err)
		var shown []string
		a, err := choice.Complete(t.Context(), model.Request{
			Messages: []model.Message{{Role: model.RoleUser, Text: tc.text}}, OnDelta: func(s string) { shown = append(shown, s) },
		})
		if err != nil || !strings.HasPrefix(a.Text, tc.want) || !a.Apology || a.Finish != "error" || a.Usage != (contracts.Usage{}) || a.Version != "pa/ma" {
			t.Errorf("%q: %+v, %v", tc.text, a, err)
		}
		if len(shown) != 1 || shown[0] != a.Text {
			t.Errorf("%q: shown %q", tc.text, shown)
		}
	}
	c := build(t, three(t), map[string]model.Completer{"pa": failing(model.KindRequest), "pb": &fake{}, "pc": &fake{}},
		func(o *chain.Options) { o.Apologize = true })
	if _, err := ask(t, c, text("x")); model.KindOf(err) != model.KindRequest {
		t.Errorf("a request that is at fault itself: %v", err)
	}
}
