package contracts

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// Delta is a piece of an answer that is being made, from the worker that runs a
// message to an ingress whose client reads along. Pieces may get lost or come
// late: the final Reply carries the whole answer.
type Delta struct {
	ID string
	// Run tells one run of the message from the next. It grows from run to run;
	// what is of an earlier run than the newest is void.
	Run     int64
	Attempt int // which try of the message this run is, for the client; 1 for the first
	// Offset is how many bytes of the answer came before Text. A piece at 0 begins
	// the answer, or repeats it from its beginning for somebody who came late.
	Offset int
	Text   string
}

const replyDelta = "delta"

// MaxDelta is the longest text of one Delta, in bytes. A longer piece is cut.
const MaxDelta = 64 << 10

// EncodeDelta seals d and gives the bytes to publish on SubjectReply:
// "delta <version> <id> <sealed>".
func EncodeDelta(d Delta, sealer Sealer) ([]byte, error) {
	id, err := ParseID(d.ID)
	if err != nil {
		return nil, fmt.Errorf("encode delta: %w", err)
	}
	w := newFields(32 + len(d.Text))
	w.number(int(d.Run), d.Attempt, d.Offset)
	w.text(d.Text)
	sealed, err := sealer.Seal(w.b, KindDelta, id.Conversation, d.ID)
	if err != nil {
		return nil, fmt.Errorf("seal delta: %w", err)
	}
	b := make([]byte, 0, len(replyDelta)+8+len(d.ID)+len(sealed))
	b = append(b, replyDelta...)
	b = strconv.AppendInt(append(b, ' '), Version, 10)
	b = append(append(append(b, ' '), d.ID...), ' ')
	return append(b, sealed...), nil
}

// IsDelta reports whether what came on SubjectReply is a Delta, not a Reply.
func IsDelta(b []byte) bool { return bytes.HasPrefix(b, []byte(replyDelta+" ")) }

// SealedDelta reads the clear part of what EncodeDelta wrote, so that what nobody
// waits for need not be opened.
func SealedDelta(b []byte) (Sealed, error) {
	rest, ok := bytes.CutPrefix(b, []byte(replyDelta+" "))
	if !ok {
		return Sealed{}, errors.New("decode delta: not a delta")
	}
	s, err := DecodeSealed(rest)
	if err != nil {
		return Sealed{}, fmt.Errorf("decode delta: %w", err)
	}
	if _, err := ParseID(s.ID); err != nil {
		return Sealed{}, fmt.Errorf("decode delta: %w", err)
	}
	return s, nil
}

// OpenDelta opens what SealedDelta gave. It fails for a delta of another message.
func OpenDelta(s Sealed, sealer Sealer) (Delta, error) {
	id, err := ParseID(s.ID)
	if err != nil {
		return Delta{}, fmt.Errorf("open delta: %w", err)
	}
	plain, err := sealer.Open(s.Data, KindDelta, id.Conversation, s.ID)
	if err != nil {
		return Delta{}, fmt.Errorf("open delta: %w", err)
	}
	if err := versioned(plain); err != nil {
		return Delta{}, fmt.Errorf("decode delta: %w", err)
	}
	r := readFields(plain)
	d := Delta{ID: s.ID, Run: int64(r.number()), Attempt: r.number(), Offset: r.number(), Text: r.text()}
	if err := r.end(); err != nil {
		return Delta{}, fmt.Errorf("decode delta: %w", err)
	}
	if d.Run < 0 || d.Attempt < 0 || d.Offset < 0 || len(d.Text) > MaxDelta {
		return Delta{}, errors.New("decode delta: a number is out of range")
	}
	return d, nil
}
