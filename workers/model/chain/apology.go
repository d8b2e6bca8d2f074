package chain

import (
	"context"
	"unicode"

	"moltbot/contracts"
	"moltbot/workers/model"
)

// The sentences of a chain that was given none.
const (
	apologyEnglish = "I am sorry, I cannot answer right now. Please try again later."
	apologyChinese = "抱歉，我现在无法回答，请稍后再试。"
)

// apologizing gives a sentence where nobody answered and nothing was shown, and
// then no error: the message is not tried again.
type apologizing struct {
	inner model.Completer
	chain *Chain
	first *link
}

// Complete answers or apologizes. A request that is itself at fault gets its error,
// which says more than an apology.
func (a *apologizing) Complete(ctx context.Context, r model.Request) (model.Answer, error) {
	shown := new(bool)
	if show := r.OnDelta; show != nil {
		r.OnDelta = func(text string) {
			*shown = true
			show(text)
		}
	}
	answer, err := a.inner.Complete(ctx, r)
	if err == nil || ctx.Err() != nil || *shown || !excusable(err) {
		return answer, err
	}
	a.chain.metrics.apologized(a.first.name)
	a.chain.o.Log.Warn().Err(err).Str("model", a.first.name).Str("code", string(contracts.Public(err).Code)).
		Msg("no model answers, the answer is an apology")
	text := a.chain.o.Apology
	if text == "" {
		text = apologyFor(r.Messages)
	}
	if r.OnDelta != nil {
		r.OnDelta(text)
	}
	return model.Answer{
		Text: text, Model: a.first.entry.Model, Version: a.first.version, Finish: finishError, Apology: true,
	}, nil
}

// finishError is what an apology finishes with.
const finishError = "error"

func excusable(err error) bool { return contracts.Retryable(err) || model.KindOf(err).Elsewhere() }

// apologyFor follows the script of the last message.
func apologyFor(messages []model.Message) string {
	if len(messages) > 0 {
		for _, c := range messages[len(messages)-1].Text {
			if unicode.Is(unicode.Han, c) {
				return apologyChinese
			}
		}
	}
	return apologyEnglish
}
