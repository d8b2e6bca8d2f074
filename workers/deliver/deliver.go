// Package deliver sends finished answers out to IM platforms and callback URLs,
// each part once as far as the other side lets it, with a record of every part.
// It makes no answer and decides no order.
package deliver

import (
	"context"
	"time"

	"moltbot/contracts"
)

// Part is one call to a platform: a whole answer, or a piece of a long one.
type Part struct {
	Number int // from 1
	Of     int
	// Key is the same for every try of this part: at most 50 characters of
	// a-z 0-9, for platforms that drop a repeat by it (Feishu: uuid, 1 h, facts).
	Key  string
	Text string // as the platform is to show it
	// Since is when this delivery was first tried; zero: not known.
	Since time.Time
}

// Sender speaks to one kind of receiver.
type Sender interface {
	// Parts cuts an answer into calls: the same answer gives the same parts.
	Parts(a *contracts.Answer) []Part
	// Send makes one call. receipt is the platform's name of what it shows now, or
	// empty. An error is a *Failure; any other counts as one that may have arrived.
	Send(ctx context.Context, a *contracts.Answer, p Part) (receipt string, err error)
	// Repeatable reports whether a part that may have arrived may be sent again,
	// when it was first sent so long ago.
	Repeatable(a *contracts.Answer, since time.Duration) bool
}

// Verdict is what a failed call means for its part.
type Verdict string

// The verdicts.
const (
	// VerdictRetry: it did not arrive, and may later.
	VerdictRetry Verdict = "retry"
	// VerdictFinal: it did not arrive, and never will.
	VerdictFinal Verdict = "final"
	// VerdictUncertain: it may have arrived.
	VerdictUncertain Verdict = "uncertain"
)

// Failure is a call that failed.
type Failure struct {
	Verdict Verdict
	// Wait is what the platform asked for; zero: it did not.
	Wait time.Duration
	// Chat: Wait is asked of the one chat only, not of the application.
	Chat bool
	// Hold: of an uncertain one, that to repeat it would tell no more.
	Hold bool
	// Detail is an HTTP status or the platform's code, for the record and metrics.
	Detail string
	Err    error // without secrets and content; never nil
}

// Error is the operator's text.
func (f *Failure) Error() string { return string(f.Verdict) + ": " + f.Err.Error() }

// Unwrap gives the cause.
func (f *Failure) Unwrap() error { return f.Err }
