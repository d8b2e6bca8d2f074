package deliver

import (
	"context"
	"errors"
	"time"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
)

// journey is one run of one answer.
type journey struct {
	c       *Courier
	task    *mailbox.Task
	channel contracts.Channel
	id      contracts.ID // of the outgoing message
	answer  *contracts.Answer
	claim   claim
	opened  opened
	at      time.Time // when it was opened, by our clock
	sender  Sender
	told    bool // the record says that all of it is sent
}

// now is the time by the clock of Redis, which all processes share.
func (j *journey) now() time.Time { return j.opened.now.Add(j.c.o.Now().Sub(j.at)) }

// late reports whether the answer was tried for long enough.
func (j *journey) late() bool { return j.now().Sub(j.opened.since) >= j.c.o.RetryFor(j.channel) }

// deliver sends the parts in their order. One that may have arrived and must not
// be sent again does not hold up those behind it.
func (j *journey) deliver(ctx context.Context) error {
	if err := j.timely(); err != nil {
		return err
	}
	var ok bool
	if j.sender, ok = j.c.o.Senders[j.channel]; !ok {
		return j.again(&Failure{Verdict: VerdictRetry, Wait: noSender, Detail: "no_sender", Err: errNoSender})
	}
	parts := j.sender.Parts(j.answer)
	var doubt error
	for i, p := range parts {
		p.Since = j.opened.since
		if err := ctx.Err(); err != nil {
			return err // what is missing is sent by who takes the message next
		}
		err := j.part(ctx, p, i == len(parts)-1 && doubt == nil)
		if isUncertain(err) {
			doubt = err
			continue
		}
		if err != nil {
			return err
		}
	}
	if doubt != nil {
		return doubt
	}
	if !j.told { // the last part was sent by an earlier run
		err := j.surely(ctx, func(ctx context.Context) error {
			return j.c.records.finish(ctx, j.claim, tried{status: contracts.DeliverySent})
		})
		if err != nil {
			return elsewhere(err)
		}
	}
	j.c.o.Metrics.delivered(j.channel, j.answer.Accepted, j.c.o.Now())
	j.c.o.Log.Info().Str("message_id", j.task.ID).Str("request_id", j.answer.RequestID).Str("user_id", j.answer.Caller).
		Str("channel", string(j.channel)).Int("parts", len(parts)).
		Int64("latency_ms", j.c.o.Now().Sub(j.answer.Accepted).Milliseconds()).Msg("answer delivered")
	return nil
}

// noSender is how long an answer waits for a process that can send it.
const noSender = 30 * time.Second

var errNoSender = errors.New("no application of this channel is configured here")

// timely refuses to answer a message hours after it was written. What was begun is
// finished, and what an operator replays is not asked for its age.
func (j *journey) timely() error {
	o := j.answer.Origin
	if o == nil || len(j.opened.parts) > 0 || j.id.Replay > 0 {
		return nil
	}
	return Stale(o, j.c.o.Now(), j.c.o.MaxAge(j.channel, o.App))
}

// Stale is the verdict on a message that was written too long ago to be answered;
// nil: it was not.
func Stale(o *contracts.Origin, now time.Time, maxAge time.Duration) error {
	if maxAge <= 0 || o.At.IsZero() || now.Sub(o.At) <= maxAge {
		return nil
	}
	return &contracts.Error{Code: contracts.CodeStale, Message: "the message was written too long ago to be answered now"}
}

// part brings one part to an end that needs no further call, or says why not.
func (j *journey) part(ctx context.Context, p Part, last bool) error {
	was := j.opened.parts[p.Number]
	switch was.state {
	case stateSent:
		return nil
	case stateFailed: // and the dead letter was not written yet
		return undelivered("the platform refused it for good", nil)
	case stateUncertain:
		return uncertain(nil)
	case stateSending:
		if !j.repeatable(was.first) {
			return j.doubt(ctx, p, "interrupted", errInterrupted)
		}
	}
	if err := j.wait(ctx); err != nil {
		return err
	}
	err := j.surely(ctx, func(ctx context.Context) (err error) {
		was.first, err = j.c.records.begin(ctx, j.claim, p.Number)
		return err
	})
	if err != nil {
		return elsewhere(err)
	}
	j.c.crash("recorded")
	receipt, err := j.c.send(ctx, j.sender, j.answer, p)
	j.c.crash("sent")
	if err != nil {
		return j.failed(ctx, p, was, err)
	}
	t := tried{part: p.Number, state: stateSent, receipt: receipt, outcome: contracts.DeliverySent}
	if last {
		t.status = contracts.DeliverySent
	}
	err = j.record(ctx, t)
	j.told = last && err == nil
	j.c.crash("recorded sent")
	return err
}

var errInterrupted = errors.New("whoever sent it did not live to see the answer")

func (j *journey) repeatable(first time.Time) bool {
	return !j.late() && j.sender.Repeatable(j.answer, max(0, j.now().Sub(first)))
}

// failed judges a call. was is the part before it: where an earlier call may have
// arrived, a later one that certainly did not proves nothing of it.
func (j *journey) failed(ctx context.Context, p Part, was progress, err error) error {
	f := failureOf(err)
	doubtful := was.state == stateSending
	switch {
	case f.Verdict == VerdictRetry && !j.late():
		t := tried{part: p.Number, state: stateUnsent, outcome: contracts.DeliveryPending, detail: f.Detail}
		if doubtful {
			t.state = stateSending
		}
		if err := errors.Join(j.record(ctx, t), j.block(ctx, f)); err != nil {
			return elsewhere(err)
		}
		return j.again(f)
	case f.Verdict == VerdictUncertain && !f.Hold && j.repeatable(was.first):
		if err := j.record(ctx, tried{part: p.Number, state: stateSending, outcome: contracts.DeliveryPending, detail: f.Detail}); err != nil {
			return err
		}
		return j.again(f)
	case f.Verdict == VerdictUncertain || doubtful:
		return j.doubt(ctx, p, f.Detail, f)
	}
	t := tried{part: p.Number, state: stateFailed, outcome: contracts.DeliveryFailed, detail: f.Detail, status: contracts.DeliveryFailed}
	if err := j.record(ctx, t); err != nil {
		return err
	}
	if f.Verdict == VerdictRetry {
		return undelivered("not taken in all the time it was tried", f)
	}
	return undelivered("refused for good", f)
}

// failureOf reads an error of a sender. What does not say that it did not arrive
// may have.
func failureOf(err error) *Failure {
	var f *Failure
	if errors.As(err, &f) && f.Err != nil && (f.Verdict == VerdictRetry || f.Verdict == VerdictFinal) {
		return f
	}
	doubt := &Failure{Verdict: VerdictUncertain, Err: err}
	if f != nil {
		doubt.Detail, doubt.Hold = f.Detail, f.Hold
	}
	return doubt
}

// doubt ends a part that may have arrived and must not be sent again.
func (j *journey) doubt(ctx context.Context, p Part, detail string, cause error) error {
	t := tried{part: p.Number, state: stateUncertain, outcome: contracts.DeliveryUncertain, detail: detail}
	if err := j.record(ctx, t); err != nil {
		return err
	}
	return uncertain(cause)
}

// again is the verdict on an answer that is to be tried again later.
func (j *journey) again(f *Failure) error {
	var p *panicked
	if errors.As(f.Err, &p) {
		return p // it counts
	}
	if j.late() {
		return undelivered("not taken in all the time it was tried", f)
	}
	if !Paced(f) {
		j.c.o.Metrics.ended(j.channel, OutcomeRetry)
	}
	return &contracts.Error{
		Code: contracts.CodeChannelDown, Message: "the receiver does not take it at the moment", RetryAfter: f.Wait, Retryable: true, Err: f,
	}
}

func undelivered(detail string, cause error) error {
	return &contracts.Error{Code: contracts.CodeUndelivered, Message: "the answer was not delivered: " + detail, Err: cause}
}

func uncertain(cause error) error {
	return &contracts.Error{Code: contracts.CodeUncertain, Message: "the answer, or a part of it, may have arrived", Err: cause}
}

func isUncertain(err error) bool {
	var e *contracts.Error
	return errors.As(err, &e) && e.Code == contracts.CodeUncertain
}

// wait takes the turn under the limits of the platform.
func (j *journey) wait(ctx context.Context) error {
	o := j.answer.Origin
	if o == nil {
		return nil
	}
	all, chat := j.c.o.Rate(j.channel, o.App)
	wait, late, err := j.c.pace.take(ctx, j.c.pace.limits(j.channel, o, all, chat))
	switch {
	case err != nil:
		return err
	case late > 0:
		return j.again(&Failure{Verdict: VerdictRetry, Wait: late, Detail: "paced", Err: errPaced})
	case wait == 0:
		return nil
	}
	return rest(ctx, wait)
}

var errPaced = errors.New("the limit of the platform is used up")

// Paced reports whether a run ended because the limit of its platform was used up:
// nothing went wrong, and it is to come again when it was told to.
func Paced(err error) bool { return errors.Is(err, errPaced) }

// block keeps everybody from an application, or a chat, that asked for it. That its
// word is not kept costs a refusal, so a failing Redis is no reason to stop.
func (j *journey) block(ctx context.Context, f *Failure) error {
	o := j.answer.Origin
	if o == nil || f.Wait <= 0 {
		return nil
	}
	key := j.c.pace.appKey(j.channel, o)
	if f.Chat && o.Chat != "" {
		key = j.c.pace.chatKey(j.channel, o)
	}
	if err := j.c.pace.block(ctx, key, f.Wait); err != nil {
		j.c.o.Log.Warn().Err(err).Str("channel", string(j.channel)).Msg("the platform's wait not passed on")
	}
	return nil
}

// record writes what became of a try.
func (j *journey) record(ctx context.Context, t tried) error {
	j.c.o.Metrics.part(j.channel, t.outcome)
	return elsewhere(j.surely(ctx, func(ctx context.Context) error { return j.c.records.finish(ctx, j.claim, t) }))
}

// surely repeats a step until Redis confirms it, as long as the run lives: a call
// that is not written down is one that may have arrived. The beats go on meanwhile.
func (j *journey) surely(ctx context.Context, step func(context.Context) error) error {
	for told := false; ; told = true {
		call, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepWait)
		err := step(call)
		cancel()
		if err == nil || errors.Is(err, errFenced) || ctx.Err() != nil {
			return err
		}
		if !told {
			j.c.o.Log.Warn().Err(err).Str("message_id", j.task.ID).Msg("delivery not recorded yet, trying on")
		}
		if rest(ctx, stepAgain) != nil {
			return err
		}
	}
}

const (
	stepWait  = 5 * time.Second
	stepAgain = 250 * time.Millisecond
)

func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
