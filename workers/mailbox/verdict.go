package mailbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"moltbot/contracts"
)

// verdict judges a failed run. It gives the final error that finishes the
// message, or nil when the message is to be tried again.
func (m *Mailbox) verdict(t Task, f failures, err error) *contracts.Error {
	var e *contracts.Error
	known := errors.As(err, &e)
	switch {
	case known && !e.Retryable:
		return e
	case charged(err) && t.Attempt >= m.o.MaxAttempts:
		return dead(fmt.Sprintf("no answer after %d attempts: %s", t.Attempt, contracts.Public(err).Message), err)
	case f.count > 0 && m.o.Now().Sub(f.first) > m.o.RetryFor:
		return dead(fmt.Sprintf("no answer within %s of retries: %s", m.o.RetryFor, contracts.Public(err).Message), err)
	}
	return nil
}

// charged reports whether a failed run counts as one of the message's attempts.
// A dependency that is down does not count. A time-out or a bad answer does: it
// may well be this message that the model cannot cope with. So does any error
// without a code, and a panic.
func charged(err error) bool {
	var e *contracts.Error
	if !errors.As(err, &e) {
		return true
	}
	return e.Code == contracts.CodeModelTimeout || e.Code == contracts.CodeModelAnswer
}

func dead(detail string, cause error) *contracts.Error {
	return &contracts.Error{Code: contracts.CodeDead, Message: detail, Err: cause}
}

func stoppedByUser(err error) bool {
	var e *contracts.Error
	return errors.As(err, &e) && e.Code == contracts.CodeStopped
}

// retryLater keeps the conversation closed for a back-off, so that what comes
// behind the failed head waits in order and burns no attempts.
func (m *Mailbox) retryLater(work context.Context, h *holding, t Task, f failures, cause error) (Handled, error) {
	before := f
	if f.count == 0 {
		f.first = m.o.Now()
	}
	f.count++
	wait, failed := m.backoff(f.count, cause), true
	if m.o.Backoff != nil {
		wait, failed = m.o.Backoff(f.count, cause)
	}
	if failed {
		m.count(EventRetry)
		withTrace(m.o.Log.Warn(), t).Err(cause).Str("message_id", t.ID).Int("attempt", t.Attempt).Int("failures", f.count).
			Dur("retry_in", wait).Msg("message not answered, trying again")
	} else {
		f = before
	}
	if err := m.box.hold(work, h, t.ID, wait, !charged(cause), f); err != nil {
		return m.giveUp(h, t.ID, err)
	}
	m.nak(h, wait+wait/20+time.Millisecond)
	return HandledHeld, nil
}

// backoff doubles from RetryBase to RetryMax, with jitter, and honors what the
// dependency asked for.
func (m *Mailbox) backoff(failures int, cause error) time.Duration {
	d := m.o.RetryBase
	for range failures - 1 {
		if d = 2 * d; d >= m.o.RetryMax {
			break
		}
	}
	d = min(d, m.o.RetryMax)
	d = d*3/4 + rand.N(d/2+1)
	var e *contracts.Error
	if errors.As(cause, &e) {
		d = max(d, min(e.RetryAfter, m.o.RetryMax))
	}
	return d
}

// interrupted ends a run whose context ended: the lease was taken by somebody
// else, or this process is stopping and gives the message back untried.
func (m *Mailbox) interrupted(run context.Context, h *holding, t Task) (Handled, error) {
	if errors.Is(context.Cause(run), errLeaseTaken) {
		return HandledRefused, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), m.o.CallTimeout)
	defer cancel()
	_, _, err := m.box.release(ctx, h, everything, t.ID)
	m.nak(h, 0)
	return HandledGiven, err
}
