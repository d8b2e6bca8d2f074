package callback

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"moltbot/contracts"
	"moltbot/workers/deliver"
	"moltbot/workers/deliver/egress"
)

// longestWait is the wait that stays, and the longest that a receiver may ask for.
const longestWait = time.Hour

// waitAfter is the wait after a try that began so long after the first one: 5 s,
// 30 s, 2 min, 10 min, 30 min, and then an hour each time.
func waitAfter(passed time.Duration) time.Duration {
	var begins time.Duration // of the next try but one
	for _, wait := range [...]time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute} {
		if begins += wait; passed < begins {
			return wait
		}
	}
	return longestWait
}

func spread(d time.Duration) time.Duration { return d + rand.N(d/5+1) }

// retry gives the failure of a try that may be repeated, or the last one.
func (s *Sender) retry(a *contracts.Answer, p deliver.Part, asked time.Duration, detail string, err error) *deliver.Failure {
	since := p.Since
	if since.IsZero() {
		since = a.Result.At
	}
	passed := max(0, s.o.Now().Sub(since))
	if passed >= s.o.RetryFor {
		return &deliver.Failure{Verdict: deliver.VerdictFinal, Detail: detail, Err: fmt.Errorf("given up after %s: %w", s.o.RetryFor, err)}
	}
	wait := s.o.Spread(max(waitAfter(passed), min(asked, longestWait)))
	return &deliver.Failure{Verdict: deliver.VerdictRetry, Wait: min(wait, max(s.o.RetryFor-passed, time.Second)), Detail: detail, Err: err}
}

// declined reads the status of an answer that is no success.
func (s *Sender) declined(a *contracts.Answer, p deliver.Part, resp *http.Response) *deliver.Failure {
	detail := strconv.Itoa(resp.StatusCode)
	err := fmt.Errorf("the callback URL answered %d", resp.StatusCode)
	if resp.StatusCode == http.StatusGone {
		return &deliver.Failure{Verdict: deliver.VerdictFinal, Detail: detail, Err: err}
	}
	return s.retry(a, p, retryAfter(resp.Header.Get("Retry-After"), s.o.Now()), detail, err)
}

// retryAfter reads seconds or a date.
func retryAfter(text string, now time.Time) time.Duration {
	text = strings.TrimSpace(text)
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// broken reads the error of a call without an answer. That it may have arrived is
// no reason not to repeat it.
func (s *Sender) broken(ctx context.Context, a *contracts.Answer, p deliver.Part, err error) *deliver.Failure {
	var timeout net.Error
	var certificate *tls.CertificateVerificationError
	var name *net.DNSError
	var op *net.OpError
	switch {
	case ctx.Err() != nil: // we stop, which is nothing that the receiver did
		return &deliver.Failure{Verdict: deliver.VerdictUncertain, Detail: "stopped", Err: err}
	case errors.Is(err, egress.ErrAddress):
		return &deliver.Failure{Verdict: deliver.VerdictFinal, Detail: "refused_address", Err: err}
	case errors.As(err, &certificate):
		return s.retry(a, p, 0, "certificate", err)
	case errors.As(err, &name):
		return s.retry(a, p, 0, "name", err)
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return s.retry(a, p, 0, "timeout", err)
	case errors.As(err, &op) && op.Op == "dial":
		return s.retry(a, p, 0, "unreachable", err)
	}
	return s.retry(a, p, 0, "broken", err)
}
