package contracts

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// MaxReply is the largest sealed result that travels inside a Reply, in bytes.
// A larger one stays in Redis and the Reply only points to it.
const MaxReply = 256 << 10

// Answers of an ingress process to a Reply.
const (
	ReplyTaken = "taken" // a request was waiting and has it now
	ReplyGone  = "gone"  // nobody waits for this id here any more
)

// Reply carries a finished message from a worker to the ingress that waits. Its
// Data is the sealed result as parked under KeyResult; empty means read it there.
type Reply struct {
	ID   string
	Data []byte
}

const replyFinal = "final"

// EncodeReply gives the bytes to request on SubjectReply.
func EncodeReply(r Reply) []byte {
	if len(r.Data) > MaxReply {
		r.Data = nil
	}
	return append([]byte(replyFinal+" "), EncodeSealed(Sealed(r))...)
}

// DecodeReply reads what EncodeReply wrote.
func DecodeReply(b []byte) (Reply, error) {
	kind, rest, ok := bytes.Cut(b, []byte{' '})
	if !ok || string(kind) != replyFinal {
		return Reply{}, errors.New("decode reply: not a final reply")
	}
	s, err := DecodeSealed(rest)
	if err != nil {
		return Reply{}, fmt.Errorf("decode reply: %w", err)
	}
	if _, err := ParseID(s.ID); err != nil {
		return Reply{}, fmt.Errorf("decode reply: %w", err)
	}
	return Reply(s), nil
}

// Attach asks the worker that runs a message to send its reply to one more
// ingress process. It is published on SubjectAttach.
type Attach struct {
	Version int    `json:"v"`
	ReplyTo string `json:"reply_to"`
	// Deltas asks for the answer so far and for what follows, too.
	Deltas bool `json:"deltas,omitempty"`
}

// EncodeAttach gives the bytes to publish.
func EncodeAttach(a Attach) []byte {
	a.Version = Version
	b, _ := json.Marshal(a) // cannot fail: plain fields
	return b
}

// DecodeAttach reads what EncodeAttach wrote. It takes no subject but an
// ingress inbox, so that a stranger's request cannot point an answer elsewhere.
func DecodeAttach(b []byte) (Attach, error) {
	var a Attach
	if err := decode(b, &a, &a.Version, "attach"); err != nil {
		return Attach{}, err
	}
	if !IsReplySubject(a.ReplyTo) {
		return Attach{}, errors.New("decode attach: not a reply subject")
	}
	return a, nil
}

// Cancel ends running messages of a conversation. It is published on
// SubjectCancel. Without Before, nobody can read the answer of the message ID any
// more. With it, ID is a command of the user to stop what came before.
type Cancel struct {
	Version int    `json:"v"`
	ID      string `json:"id"`
	// Before is the sequence of the command in StreamChat, and Life the stream's
	// life that it counts in: what has a lower sequence is stopped.
	Before uint64 `json:"before,omitempty"`
	Life   int64  `json:"life,omitempty"`
}

// EncodeCancel gives the bytes to publish for a message that nobody can read.
func EncodeCancel(id ID) []byte {
	b, _ := json.Marshal(Cancel{Version: Version, ID: id.String()}) // cannot fail: plain fields
	return b
}

// EncodeStop gives the bytes to publish for the command id of sequence before.
func EncodeStop(id ID, before uint64, life int64) []byte {
	b, _ := json.Marshal(Cancel{Version: Version, ID: id.String(), Before: before, Life: life}) // cannot fail: plain fields
	return b
}

// DecodeCancel reads what EncodeCancel or EncodeStop wrote.
func DecodeCancel(b []byte) (Cancel, error) {
	var c Cancel
	if err := decode(b, &c, &c.Version, "cancel"); err != nil {
		return Cancel{}, err
	}
	if _, err := ParseID(c.ID); err != nil {
		return Cancel{}, fmt.Errorf("decode cancel: %w", err)
	}
	return c, nil
}

// IsReplySubject reports whether s is what SubjectReply makes.
func IsReplySubject(s string) bool {
	node, ok := strings.CutPrefix(s, subjectReply)
	return ok && len(s) <= 128 && node == token(node) && node != "_"
}

// Outgoing is one reply in the outbox: committed with the turn, then stored in
// SEND under its message id. Data is the sealed envelope of the channel.
type Outgoing struct {
	Version      int     `json:"v"`
	ID           string  `json:"id"`
	Conversation string  `json:"conversation"`
	Channel      Channel `json:"channel"`
	Data         []byte  `json:"data"`
}

// EncodeOutgoing gives the bytes that are kept in KeyOut and published to SEND.
func EncodeOutgoing(o Outgoing) ([]byte, error) { return encode(&o, &o.Version) }

// DecodeOutgoing reads what EncodeOutgoing wrote.
func DecodeOutgoing(b []byte) (Outgoing, error) {
	var o Outgoing
	if err := decode(b, &o, &o.Version, "outgoing"); err != nil {
		return Outgoing{}, err
	}
	id, err := ParseID(o.ID)
	if err != nil || id.Conversation != o.Conversation || o.Channel == "" {
		return Outgoing{}, errors.New("decode outgoing: the envelope contradicts its id")
	}
	return o, nil
}

// Dead is a dead letter: the original as it lay in its stream, and why it was
// given up on. The reason's text may quote content, so it is sealed.
type Dead struct {
	Version      int       `json:"v"`
	ID           string    `json:"id"` // of the message, or DeadID for bytes without one
	Conversation string    `json:"conversation"`
	Code         Code      `json:"code"`
	Detail       []byte    `json:"detail,omitempty"` // sealed text for the operator
	Attempts     int       `json:"attempts"`
	Stream       string    `json:"stream"`
	Sequence     uint64    `json:"sequence"`
	Subject      string    `json:"subject"`
	At           time.Time `json:"at"`
	Original     []byte    `json:"original,omitempty"`
}

// DeadID names a message whose own id cannot be read.
func DeadID(stream string, created int64, sequence uint64) string {
	return fmt.Sprintf("raw-%s-%d-%d", token(stream), created, sequence)
}

// EncodeDead gives the bytes to publish on SubjectDead: a line of JSON, and
// behind it the original as it was. Within the JSON it would be a third longer,
// and a message that just fits into its stream would not fit among the dead.
func EncodeDead(d Dead) ([]byte, error) {
	original := d.Original
	d.Original = nil
	b, err := encode(&d, &d.Version)
	if err != nil {
		return nil, err
	}
	return append(append(b, '\n'), original...), nil
}

// DecodeDead reads what EncodeDead wrote, in this version or the one before,
// which kept the original within the JSON.
func DecodeDead(b []byte) (Dead, error) {
	var d Dead
	head, original, behind := bytes.Cut(b, []byte{'\n'})
	if err := decode(head, &d, &d.Version, "dead letter"); err != nil {
		return Dead{}, err
	}
	if behind {
		d.Original = original
	}
	return d, nil
}
