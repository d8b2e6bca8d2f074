package upstream_test

import (
	"context"
	"testing"

	"moltbot/contracts"
	"moltbot/workers/model"
	"moltbot/workers/model/modeltest"
	"moltbot/workers/model/upstream"
)

// What was paid for without an answer is said: by the provider where it got so
// far, else by an estimate of what came.
func TestWhatAFailedCallCost(t *testing.T) {
	const said = `{"prompt_tokens":70,"completion_tokens":9,"input_tokens":70,"output_tokens":9}`
	everyWay(t, func(t *testing.T, w way) {
		for name, tc := range map[string]struct {
			b    modeltest.Behavior
			want contracts.Usage
		}{
			"empty":   {b: modeltest.Behavior{Usage: said}, want: contracts.Usage{PromptTokens: 70, CompletionTokens: 9}},
			"no room": {b: modeltest.Behavior{Usage: said, Finish: "length"}, want: contracts.Usage{PromptTokens: 70, CompletionTokens: 9}},
			"refused": {b: modeltest.Behavior{Kind: modeltest.Status, Status: 500}},
			"reset":   {b: modeltest.Behavior{Kind: modeltest.Reset}},
		} {
			s := modeltest.New(modeltest.Options{
				Reply: func(modeltest.Request) string { return "" }, Behave: func(modeltest.Request) modeltest.Behavior { return tc.b },
			})
			a, err := w.connect(t, upstream.Options{Endpoint: s.URL}).Complete(t.Context(), prompt("hi"))
			s.Close()
			if err == nil || a.Usage != tc.want || a.Text+a.Model != "" {
				t.Errorf("%s: %+v, %v", name, a, err)
			}
		}
	})
}

// Who leaves in the middle of an answer has used what came of it.
func TestALeftAnswerHasACost(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		if !w.stream {
			return
		}
		s := modeltest.New(modeltest.Options{
			Reply:  func(modeltest.Request) string { return "thirty bytes of an answer, here" },
			Behave: func(modeltest.Request) modeltest.Behavior { return modeltest.Behavior{Kind: modeltest.Stall} },
		})
		defer s.Close()
		ctx, leave := context.WithCancel(t.Context())
		r := prompt("a prompt of some length")
		shown := 0
		r.OnDelta = func(piece string) {
			shown += len(piece)
			leave()
		}
		a, err := w.connect(t, upstream.Options{Endpoint: s.URL}).Complete(ctx, r)
		if err == nil || model.KindOf(err) != model.KindNone {
			t.Fatalf("error: %v", err)
		}
		if a.Usage.PromptTokens < 5 || a.Usage.CompletionTokens != shown/3 || shown < 9 {
			t.Errorf("usage %+v after %d bytes", a.Usage, shown)
		}
	})
}
