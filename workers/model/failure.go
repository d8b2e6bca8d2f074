package model

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"moltbot/contracts"
)

const (
	soon        = time.Second      // when to ask again if the provider does not say
	operatorDue = 30 * time.Second // how long a wrong key or endpoint is left to the operator
	maxWait     = time.Minute      // cap on the provider's own Retry-After
	maxRefusal  = 4 << 10          // bytes read of a refusal's body
)

// refusal is an answer with another status than 2xx.
type refusal struct {
	status int
	wait   time.Duration // from Retry-After; 0: it did not say
	text   string        // what of its body may be logged, see hint
}

func (r refusal) Error() string { return fmt.Sprintf("status %d: %s", r.status, r.text) }

func readRefusal(res *http.Response, now time.Time) refusal {
	defer res.Body.Close()
	// A body that cannot be read does not change what the status says.
	b, _ := io.ReadAll(io.LimitReader(res.Body, maxRefusal))
	return refusal{status: res.StatusCode, wait: retryAfter(res.Header.Get("Retry-After"), now), text: hint(b)}
}

// retryAfter reads seconds or an HTTP date, capped at maxWait.
func retryAfter(header string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(header, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(n, uint64(maxWait/time.Second))) * time.Second
	}
	at, err := http.ParseTime(header)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxWait)
}

// failed gives the error of a call that brought no answer. The caller's own
// end of patience is told apart from the provider's faults.
func (c *OpenAI) failed(ctx, call context.Context, version string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("ask model: %w", ctx.Err())
	}
	var slow late
	if errors.As(context.Cause(call), &slow) {
		err = slow
	}
	e := classify(err)
	var inURL *url.Error
	if errors.As(err, &inURL) {
		err = inURL.Err // without the address: its query may hold a secret
	}
	// Flattened on purpose: every part of the chain may quote the provider's key.
	e.Err = errors.New(c.secret.clean(fmt.Sprintf("ask %q: %v", version, err)))
	return e
}

// classify decides who is to blame and whether to ask again. What is not a
// provider's refusal or slowness is a bad answer or a broken connection.
func classify(err error) *contracts.Error {
	var slow late
	var refused refusal
	var told reported
	var network *url.Error
	switch {
	case errors.As(err, &slow):
		return timedOut()
	case errors.As(err, &refused):
		return refused.classify()
	case errors.As(err, &told), errors.Is(err, errProvider):
		return unavailable(soon)
	case errors.As(err, &network):
		if timeout, ok := errors.AsType[net.Error](network.Err); ok && timeout.Timeout() {
			return timedOut()
		}
		return unavailable(soon)
	case errors.Is(err, errFiltered):
		return &contracts.Error{Code: contracts.CodeModelFailed, Message: "the model's answer was filtered"}
	case errors.Is(err, errTooLarge):
		// Final: the same prompt would be paid for and overflow again.
		return &contracts.Error{Code: contracts.CodeModelAnswer, Message: "the model's answer was too large"}
	case errors.Is(err, errNoRoom):
		// Final for the same reason.
		return &contracts.Error{Code: contracts.CodeModelAnswer, Message: "the model's answer did not fit its token limit"}
	}
	return &contracts.Error{
		Code: contracts.CodeModelAnswer, Message: "the model's answer was not usable",
		Retryable: true, RetryAfter: soon,
	}
}

// classify: a wrong key, an unpaid bill and a moved endpoint are the operator's
// trouble, not the message's, so the message waits for the operator.
func (r refusal) classify() *contracts.Error {
	switch {
	case r.status == http.StatusTooManyRequests, r.status == http.StatusRequestTimeout, r.status >= 500:
		return unavailable(max(r.wait, soon))
	case r.status == http.StatusUnauthorized, r.status == http.StatusForbidden,
		r.status == http.StatusPaymentRequired, r.status < 400:
		return unavailable(operatorDue)
	}
	return &contracts.Error{Code: contracts.CodeModelFailed, Message: "the model refused the request"}
}

func unavailable(wait time.Duration) *contracts.Error {
	return &contracts.Error{
		Code: contracts.CodeModelFailed, Message: "the model is not available",
		Retryable: true, RetryAfter: wait,
	}
}

func timedOut() *contracts.Error {
	return &contracts.Error{
		Code: contracts.CodeModelTimeout, Message: "the model took too long",
		Retryable: true, RetryAfter: soon,
	}
}
