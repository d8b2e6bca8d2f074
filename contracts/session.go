package contracts

import (
	"fmt"
	"time"
)

// Summary stands for the turns that left a conversation's window. It is stored
// sealed under KeySummary. A model wrote it from what users said: it is no more
// to be trusted than they are.
type Summary struct {
	Version int
	Upto    string // id of the newest turn in it
	Text    string
	Turns   int // how many turns are in it
	Tokens  int // of Text by the model's tokenizer
	Model   string
	At      time.Time
}

// EncodeSummary gives the plain bytes to be sealed.
func EncodeSummary(s Summary) []byte {
	w := newFields(48 + len(s.Upto) + len(s.Text) + len(s.Model))
	w.text(s.Upto, s.Text, s.Model)
	w.number(s.Turns, s.Tokens)
	w.time(s.At)
	return w.b
}

// DecodeSummary reads what EncodeSummary wrote.
func DecodeSummary(b []byte) (s Summary, err error) {
	if err := versioned(b); err != nil {
		return s, fmt.Errorf("decode summary: %w", err)
	}
	r := readFields(b)
	s = Summary{Version: Version, Upto: r.text(), Text: r.text(), Model: r.text(), Turns: r.number(), Tokens: r.number(), At: r.time()}
	if err := r.end(); err != nil {
		return Summary{}, fmt.Errorf("decode summary: %w", err)
	}
	return s, nil
}

// About says whose session a conversation is. It is stored sealed under
// KeyAbout, so that sessions can be listed although keys are keyed hashes.
type About struct {
	Version   int
	Caller    string // as in Message
	SessionID string
	Channel   Channel
	Began     time.Time // when its first message was answered
}

// EncodeAbout gives the plain bytes to be sealed.
func EncodeAbout(a About) []byte {
	w := newFields(32 + len(a.Caller) + len(a.SessionID) + len(a.Channel))
	w.text(a.Caller, a.SessionID, string(a.Channel))
	w.time(a.Began)
	return w.b
}

// DecodeAbout reads what EncodeAbout wrote.
func DecodeAbout(b []byte) (a About, err error) {
	if err := versioned(b); err != nil {
		return a, fmt.Errorf("decode session record: %w", err)
	}
	r := readFields(b)
	a = About{Version: Version, Caller: r.text(), SessionID: r.text(), Channel: Channel(r.text()), Began: r.time()}
	if err := r.end(); err != nil {
		return About{}, fmt.Errorf("decode session record: %w", err)
	}
	return a, nil
}

// SessionsDigest is the digest of a caller in KeySessions. Caller is as in Message.
func SessionsDigest(n interface {
	Digest(purpose string, parts ...string) string
}, caller string) string {
	return n.Digest("sessions", caller)
}
