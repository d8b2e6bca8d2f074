package contracts

import (
	"errors"
	"fmt"
	"time"
)

// Answer is a finished message on its way to an IM platform or a callback URL: the
// sealed Data of an Outgoing.
type Answer struct {
	Version   int
	ID        string // the message
	Caller    string // user id for logs
	RequestID string
	Accepted  time.Time
	// Text is what an IM user is shown, as Markdown: the reply, or a sentence that
	// says what became of the message.
	Text     string
	Origin   *Origin // nil: it goes to Callback
	Callback string
	Result   Result
}

// EncodeAnswer gives the plain bytes to be sealed.
func EncodeAnswer(a Answer) []byte {
	result := EncodeResult(a.Result)
	w := newFields(128 + len(a.Text) + len(result))
	w.text(a.ID, a.Caller, a.RequestID)
	w.time(a.Accepted)
	w.text(a.Text, encodeOrigin(a.Origin), a.Callback, string(result))
	return w.b
}

// DecodeAnswer reads what EncodeAnswer wrote, in this version or the one before.
func DecodeAnswer(b []byte) (a Answer, err error) {
	if err := versioned(b); err != nil {
		return a, fmt.Errorf("decode answer: %w", err)
	}
	r := readFields(b)
	a = Answer{Version: Version, ID: r.text(), Caller: r.text(), RequestID: r.text(), Accepted: r.time(), Text: r.text()}
	origin := r.text()
	a.Callback = r.text()
	result := r.text()
	if err := r.end(); err != nil {
		return Answer{}, fmt.Errorf("decode answer: %w", err)
	}
	if a.Origin, err = decodeOrigin(origin); err != nil {
		return Answer{}, fmt.Errorf("decode answer: %w", err)
	}
	if a.Result, err = DecodeResult([]byte(result)); err != nil {
		return Answer{}, fmt.Errorf("decode answer: %w", err)
	}
	if (a.Origin == nil) == (a.Callback == "") {
		return Answer{}, errors.New("decode answer: it must have an origin or a callback URL")
	}
	return a, nil
}

// Channel is where the answer goes, as part of its subject.
func (a *Answer) Channel(from Channel) Channel {
	if a.Callback != "" {
		return ChannelCallback
	}
	return from
}

// What became of a reply on its way out.
const (
	DeliveryPending   = "pending"   // it waits, or is tried again
	DeliverySent      = "sent"      // the platform has it
	DeliveryUncertain = "uncertain" // it may have arrived
	DeliveryFailed    = "failed"    // given up on
)

// Delivery is what became of a reply on its way out.
type Delivery struct {
	Status   string            `json:"status"`
	Attempts []DeliveryAttempt `json:"attempts,omitempty"` // newest last, at most 16
}

// DeliveryAttempt is one call.
type DeliveryAttempt struct {
	At   time.Time `json:"at"`
	Part int       `json:"part"` // of a long answer, from 1
	// Outcome is one of the Delivery constants.
	Outcome string `json:"outcome"`
	// Detail is an HTTP status or the platform's code; never its text.
	Detail string `json:"detail,omitempty"`
}
