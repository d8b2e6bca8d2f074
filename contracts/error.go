package contracts

import (
	"errors"
	"net/http"
	"time"
)

// Code names one kind of failure. The set is closed and part of the API: a
// code, once published, keeps its meaning.
type Code string

// The codes of the API, with the HTTP status each is answered with.
const (
	CodeBadRequest       Code = "bad_request"           // 400: malformed JSON, a wrong type, a value out of range
	CodeUnsupported      Code = "not_supported"         // 400: a documented field this server cannot serve
	CodeUnauthorized     Code = "unauthorized"          // 401: no token, or one that does not verify
	CodeForbidden        Code = "forbidden"             // 403: the token lacks the scope
	CodeNotFound         Code = "not_found"             // 404: unknown path, or an id that is not the caller's
	CodeModelUnknown     Code = "model_not_found"       // 404: no such model, or not for this caller
	CodeMethod           Code = "method_not_allowed"    // 405
	CodeBodyTimeout      Code = "request_timeout"       // 408: the body did not arrive in time
	CodeResultExpired    Code = "result_expired"        // 410: answered, but the answer is no longer kept
	CodeTooLarge         Code = "too_large"             // 413: body over the limit
	CodeMediaType        Code = "unsupported_media"     // 415: not application/json in UTF-8
	CodeKeyReused        Code = "idempotency_key_reuse" // 422: same Idempotency-Key, other body
	CodeRateLimited      Code = "rate_limited"          // 429: the caller's rate
	CodeBudget           Code = "budget_exhausted"      // 429: the caller's tokens of the day are used up
	CodeConversationFull Code = "conversation_full"     // 429: too many messages wait in this conversation
	CodeInternal         Code = "internal"              // 500
	CodeModelFailed      Code = "model_failed"          // 502: the model refused or kept failing
	CodeModelAnswer      Code = "model_bad_answer"      // 502: the model's answer was cut, malformed or too large
	CodeQueueFull        Code = "queue_full"            // 503: the stream's limit is reached
	CodeQueueDown        Code = "queue_unavailable"     // 503: the broker did not store the message
	CodeStoreDown        Code = "store_unavailable"     // 503: Redis is not reachable
	CodeStopping         Code = "shutting_down"         // 503: this replica is draining
	CodeModelTimeout     Code = "model_timeout"         // 504: the model took longer than its limits
	CodeDead             Code = "dead_lettered"         // 500: given up on; an operator can replay it
	CodeConflict         Code = "conflict"              // 409: it was changed since it was looked at
	CodeStopped          Code = "stopped"               // 409: the user stopped it before it was answered
	CodeStale            Code = "too_old"               // 410: it waited longer than an answer makes sense
	CodeUndelivered      Code = "undelivered"           // 502: the platform or callback URL refused the answer for good
	CodeUncertain        Code = "delivery_uncertain"    // 502: the answer may have arrived, and sending it again may show it twice
	CodeChannelDown      Code = "channel_unavailable"   // 503: the platform or callback URL does not answer
)

var status = map[Code]int{
	CodeBadRequest: http.StatusBadRequest, CodeUnsupported: http.StatusBadRequest,
	CodeUnauthorized: http.StatusUnauthorized, CodeForbidden: http.StatusForbidden,
	CodeNotFound: http.StatusNotFound, CodeMethod: http.StatusMethodNotAllowed,
	CodeModelUnknown: http.StatusNotFound, CodeBudget: http.StatusTooManyRequests,
	CodeBodyTimeout: http.StatusRequestTimeout, CodeResultExpired: http.StatusGone,
	CodeTooLarge: http.StatusRequestEntityTooLarge, CodeMediaType: http.StatusUnsupportedMediaType,
	CodeKeyReused: http.StatusUnprocessableEntity, CodeRateLimited: http.StatusTooManyRequests,
	CodeConversationFull: http.StatusTooManyRequests, CodeInternal: http.StatusInternalServerError,
	CodeModelFailed: http.StatusBadGateway, CodeModelAnswer: http.StatusBadGateway,
	CodeQueueFull: http.StatusServiceUnavailable, CodeQueueDown: http.StatusServiceUnavailable,
	CodeStoreDown: http.StatusServiceUnavailable, CodeStopping: http.StatusServiceUnavailable,
	CodeModelTimeout: http.StatusGatewayTimeout, CodeDead: http.StatusInternalServerError,
	CodeStopped: http.StatusConflict, CodeConflict: http.StatusConflict, CodeStale: http.StatusGone,
	CodeUndelivered: http.StatusBadGateway, CodeUncertain: http.StatusBadGateway, CodeChannelDown: http.StatusServiceUnavailable,
}

// Codes lists every code, in no particular order.
func Codes() []Code {
	all := make([]Code, 0, len(status))
	for c := range status {
		all = append(all, c)
	}
	return all
}

// Status is the HTTP status the code is answered with; 500 for an unknown code.
func (c Code) Status() int {
	if s, ok := status[c]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// Buried reports whether a message that ends with the code becomes a dead letter:
// an operator can look at it and replay it.
func (c Code) Buried() bool {
	return c == CodeDead || c == CodeStale || c == CodeUndelivered || c == CodeUncertain
}

// Error is a failure with two texts: Message is for the client and never holds
// internals; Err is the chain for the operator and is never sent.
type Error struct {
	Code    Code
	Message string
	// RetryAfter is when trying again makes sense; zero means the answer will
	// not change by itself.
	RetryAfter time.Duration
	// Retryable says that the failure is the dependency's, not the message's:
	// the message keeps its attempts and is tried again.
	Retryable bool
	Err       error
}

// Error is the operator's text.
func (e *Error) Error() string {
	text := string(e.Code) + ": " + e.Message
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap gives the chain behind the error.
func (e *Error) Unwrap() error { return e.Err }

// Public reduces any error to one that is safe to send to a client. A nil
// error has no public form and gives nil.
func Public(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: CodeInternal, Message: "something went wrong on our side", Err: err}
}

// Retryable reports whether err is a dependency's failure that may pass.
func Retryable(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Retryable
}
