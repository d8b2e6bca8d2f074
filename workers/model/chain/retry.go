package chain

import (
	"context"
	"errors"
	"time"

	"moltbot/contracts"
	"moltbot/workers/model"
)

// The same model is asked again once, after a short wait, where the failure was
// quick and the provider does not want a longer one. Whatever takes longer is for
// the fall-backs, and without any for the mailbox, which waits without a slot.
const (
	retryBase = 100 * time.Millisecond
	retryVary = 300 * time.Millisecond // of jitter
	quick     = 2 * time.Second
	shortWait = time.Second
)

// again reports whether the present link is to be asked once more, and waits.
func (t *tries) again(ctx context.Context, kind model.Kind, err error) bool {
	o := &t.line.chain.o
	passing := kind == model.KindDown || kind == model.KindAnswer || kind == model.KindUnfit
	if t.retried || !passing || !contracts.Retryable(err) || asksToWait(err) || o.Now().Sub(t.called) > quick {
		return false
	}
	wait := retryBase + o.Jitter(retryVary)
	if t.left() <= wait || t.link().provider.breaker.shut() {
		return false
	}
	t.retried = true
	t.line.chain.metrics.retried(t.link().name)
	o.Pause(ctx, wait)
	return ctx.Err() == nil
}

func asksToWait(err error) bool {
	var e *contracts.Error
	return errors.As(err, &e) && e.RetryAfter > shortWait
}

// halve gives messages without the older half of what stands between the system's
// and the last message of the user. What remains begins with a user's message, so
// that no answer is without its question and no result without its call. What is to
// be kept in front of that, a summary, goes only where nothing else is left to drop.
func halve(messages []model.Message) ([]model.Message, bool) {
	first := 0
	for first < len(messages) && messages[first].Role == model.RoleSystem {
		first++
	}
	last := len(messages) - 1
	for last > first && messages[last].Role != model.RoleUser {
		last--
	}
	kept := first
	for kept < last && messages[kept].Keep {
		kept++
	}
	if kept < last {
		first = kept
	}
	cut := first + (last-first+1)/2
	for cut < last && messages[cut].Role != model.RoleUser {
		cut++
	}
	if cut <= first || last <= first {
		return nil, false
	}
	return append(append(make([]model.Message, 0, first+len(messages)-cut), messages[:first]...), messages[cut:]...), true
}
