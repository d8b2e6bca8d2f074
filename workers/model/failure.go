package model

import (
	"errors"
	"time"
)

// soon is when to ask again if nobody says.
const soon = time.Second

// Kind says what went wrong with a call to a provider. The set is closed, so
// that it may label metrics.
type Kind uint8

// The kinds.
const (
	// KindNone: no failure of a provider's. The caller gave up, or the error is ours.
	KindNone Kind = iota
	// KindBusy: the provider wants fewer calls (429), or all of its keys are cooling.
	KindBusy
	// KindDown: it is not reached, breaks off, or says that the fault is its own (5xx).
	KindDown
	// KindTimeout: no first token, or a pause beyond the limit.
	KindTimeout
	// KindLong: the answer had begun, and was not complete within its time.
	KindLong
	// KindAnswer: the answer was cut or malformed.
	KindAnswer
	// KindUnfit: the answer was whole and of no use: without text, or with too many
	// tool calls.
	KindUnfit
	// KindOversize: the answer was larger than the limit. The same prompt would be
	// paid for and most likely overflow again.
	KindOversize
	// KindOperator: only the operator can help: a key that is refused, an unpaid
	// bill, a certificate that does not verify, an endpoint that has moved.
	KindOperator
	// KindUnknown: the provider does not know the model or the path (404).
	KindUnknown
	// KindRequest: the provider does not take what the request says.
	KindRequest
	// KindTooLong: the prompt is larger than the model's context.
	KindTooLong
	// KindFiltered: the provider's content filter took the prompt or the answer.
	KindFiltered
	// KindNoRoom: the token limit was reached before any text.
	KindNoRoom
	kinds
)

// String is the kind's name in metrics and logs.
func (k Kind) String() string {
	if k >= kinds {
		return "unknown_kind"
	}
	return [kinds]string{
		"none", "busy", "down", "timeout", "long", "answer", "unfit", "oversize", "operator", "unknown_model", "request", "too_long", "filtered", "no_room",
	}[k]
}

// Elsewhere reports whether another provider may do better with the same
// request. Of a prompt that is too long that is so only where the other model's
// context is larger, which the kind cannot know.
func (k Kind) Elsewhere() bool {
	switch k {
	case KindBusy, KindDown, KindTimeout, KindLong, KindAnswer, KindUnfit, KindOversize, KindOperator, KindUnknown:
		return true
	}
	return false
}

// Sick reports whether the failure counts against the provider, whatever is
// asked of it. What a caller can bring about by a prompt or by the name of a model
// is no sickness, or one caller could bring the others' calls to a stop: a model
// that the provider does not know, an endless answer, an empty one.
func (k Kind) Sick() bool {
	switch k {
	case KindBusy, KindDown, KindTimeout, KindAnswer, KindOperator:
		return true
	}
	return false
}

// Paid reports whether the provider made an answer, which is likely to be charged
// for although it is of no use.
func (k Kind) Paid() bool {
	switch k {
	case KindLong, KindAnswer, KindUnfit, KindOversize, KindFiltered, KindNoRoom:
		return true
	}
	return false
}

// Own reports whether the request itself is at fault: as it is, it fails again.
func (k Kind) Own() bool {
	switch k {
	case KindRequest, KindTooLong, KindFiltered, KindNoRoom:
		return true
	}
	return false
}

// Failure stands behind the *contracts.Error of a call that brought no answer.
// Its text is for the operator: one line, without keys and without content.
type Failure struct {
	Kind Kind
	Text string
}

func (f *Failure) Error() string { return f.Text }

// KindOf is the kind of the failure that err is or wraps.
func KindOf(err error) Kind {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f.Kind
	}
	return KindNone
}

// KeyState is what may be told of one API key of a provider.
type KeyState struct {
	Ordinal int       // from 1, as configured
	Until   time.Time // the key is not used before; zero: it is usable
	Refused bool      // the provider does not take it, or wants to be paid; else it has had too many calls
}
