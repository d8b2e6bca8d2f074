package chain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"moltbot/contracts"
	"moltbot/workers/model"
)

// line answers as one model of the table: it asks that, and its fall-backs after
// it. It is shared by all messages of a table.
type line struct {
	chain *Chain
	links []*link
}

// Complete asks one after the other. Its frame is held by every call that waits:
// what is only needed between two calls is in tries.
func (l *line) Complete(ctx context.Context, r model.Request) (model.Answer, error) {
	t := &tries{line: l, asked: r}
	if r.OnDelta != nil {
		t.asked.OnDelta = t.show
		t.onDelta = r.OnDelta
	}
	for {
		err := t.call(ctx)
		if err == nil {
			return t.answer, nil
		}
		if err = t.failed(ctx, err); err != nil {
			return model.Answer{}, err
		}
	}
}

// tries is what happened to one message so far.
type tries struct {
	line    *line
	asked   model.Request
	sent    model.Request // to the present link
	answer  model.Answer
	onDelta func(string)

	at      int       // the link that is asked
	retried bool      // that one, already
	trimmed bool      // the prompt, once for all of them
	shown   bool      // a piece of an answer
	began   time.Time // of the first call; zero: none has begun
	called  time.Time // of this call
	errs    []error   // of the links before
}

func (t *tries) show(text string) {
	t.shown = true
	t.onDelta(text)
}

func (t *tries) link() *link { return t.line.links[t.at] }

// call asks the present link once.
func (t *tries) call(ctx context.Context) (err error) {
	k := t.link()
	if k.provider.breaker.shut() {
		return leftAlone(k.provider.breaker.wait())
	}
	ctx, stop := t.bound(ctx)
	defer stop()
	if k.limit != nil {
		if err := k.limit.Enter(ctx); err != nil {
			return err
		}
		defer k.limit.Leave()
	}
	if err := ctx.Err(); err != nil { // it would be a trial in vain
		return fmt.Errorf("ask the model: %w", err)
	}
	permit, ok := k.provider.breaker.enter()
	if !ok {
		return leftAlone(k.provider.breaker.wait())
	}
	t.begin()
	err = errPanicked
	defer func() { t.ended(ctx, permit, err) }()
	t.prepare(k)
	t.answer, err = k.call.Complete(ctx, t.sent)
	t.answer.Model, t.answer.Version = k.entry.Model, k.version
	return err
}

// errPanicked is what a call ends with that does not return.
var errPanicked error = &model.Failure{Kind: model.KindDown, Text: "the call panicked"}

func (t *tries) ended(ctx context.Context, p permit, err error) {
	gaveUp := err != nil && (ctx.Err() != nil || isContext(err))
	p.leave(!gaveUp && sick(err), gaveUp)
	t.line.chain.metrics.called(t.link().name, err, gaveUp)
}

func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// bound ends what is not the first call with the time that all of them have.
func (t *tries) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if t.began.IsZero() {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, t.left())
}

// begin notes the time. The wait for a permit before the first call is not counted.
func (t *tries) begin() {
	t.called = t.line.chain.o.Now()
	if t.began.IsZero() {
		t.began = t.called
	}
}

func (t *tries) left() time.Duration {
	o := &t.line.chain.o
	if t.began.IsZero() {
		return o.Total
	}
	return o.Total - o.Now().Sub(t.began)
}

// prepare sends what the client asked, and what the table says of the rest. Inlined
// its copies would be in the frame of every call that waits.
//
//go:noinline
func (t *tries) prepare(k *link) {
	t.sent = t.asked
	t.sent.Model = k.entry.Model
	if t.at > 0 && !k.entry.Sees() { // of the chosen model the caller knows
		t.sent.Messages = blinded(t.sent.Messages)
	}
	if t.sent.Params.MaxTokens == 0 {
		t.sent.Params.MaxTokens = k.entry.MaxTokens
	}
	if t.sent.Params.Temperature == nil {
		t.sent.Params.Temperature = k.entry.Temperature
	}
}

// failed decides what follows a call that failed. Nil: the next one, which it has
// prepared; else the error of the message.
func (t *tries) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err // the caller gave up
	}
	if isContext(err) {
		err = outOfTime(err)
	}
	switch kind := model.KindOf(err); {
	case t.shown:
		return err
	case kind == model.KindTooLong && !t.trimmed && t.trim():
		return nil
	case t.at == 0 && (kind.Own() || !kind.Elsewhere() && !contracts.Retryable(err)):
		return err // of a fall-back it is not final: those before it may do better later
	case t.again(ctx, kind, err):
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("ask the model: %w", ctx.Err())
	}
	t.errs = append(t.errs, err)
	if t.at+1 == len(t.line.links) || t.left() <= 0 {
		return t.verdict()
	}
	from := t.link().name
	t.at, t.retried = t.at+1, false
	t.line.chain.metrics.fellBack(t.line.links[0].name, t.link().name)
	t.line.chain.o.Log.Debug().Err(err).Str("model", from).Str("fallback", t.link().name).Msg("model failed, the next one is asked")
	return nil
}

// trim drops the older half of what was said before.
func (t *tries) trim() bool {
	shorter, ok := halve(t.asked.Messages)
	if ok {
		t.asked.Messages, t.trimmed = shorter, true
		t.line.chain.metrics.trimmed(t.link().name)
	}
	return ok
}

// verdict is one error of all of them. It is worth trying again if one of them
// is, as soon as the first says. Where one has made an answer, the message is said
// to have had a bad one: unlike a provider that is down that counts as a try, or it
// would be paid for again and again until the others are back.
func (t *tries) verdict() error {
	if len(t.errs) == 1 {
		return t.errs[0]
	}
	all := &contracts.Error{Err: errors.Join(t.named()...)}
	for _, err := range t.errs {
		e := contracts.Public(err)
		better := e.Retryable && (!all.Retryable || e.RetryAfter < all.RetryAfter)
		if all.Code == "" || e.Retryable && !all.Retryable {
			all.Code, all.Message, all.Retryable = e.Code, e.Message, e.Retryable
		}
		if better {
			all.RetryAfter = e.RetryAfter
		}
	}
	if slices.ContainsFunc(t.errs, func(err error) bool { return model.KindOf(err).Paid() }) {
		all.Code, all.Message = contracts.CodeModelAnswer, "no model gave an answer that can be used"
	}
	return all
}

func (t *tries) named() []error {
	named := make([]error, len(t.errs))
	for i, err := range t.errs {
		named[i] = fmt.Errorf("%s: %w", t.line.links[i].name, err)
	}
	return named
}

func outOfTime(err error) error {
	return &contracts.Error{
		Code: contracts.CodeModelTimeout, Message: "the model took too long", Retryable: true, RetryAfter: time.Second,
		Err: &model.Failure{Kind: model.KindTimeout, Text: err.Error()},
	}
}
