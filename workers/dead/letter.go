package dead

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
)

// letter is a dead letter as far as it can be read.
type letter struct {
	contracts.DeadLetter
	dead contracts.Dead
	next contracts.ID      // the id of a replay, unless there is trouble
	chat *contracts.Letter // the original, if it is of StreamChat
	send *contracts.Outgoing
}

// Anybody who may publish below the subject of dead letters wrote what is shown of
// them, so it is cut.
const (
	longText = 160
	longCode = 40
)

// roleOf is the last word of a subject.
func roleOf(subject string) string { return subject[strings.LastIndexByte(subject, '.')+1:] }

func clip(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// read never fails: what cannot be read is said in Trouble.
func read(raw *jetstream.RawStreamMsg) *letter {
	l := &letter{DeadLetter: contracts.DeadLetter{
		Sequence: raw.Sequence, Role: clip(roleOf(raw.Subject), longCode),
		At: raw.Time.UTC(), Bytes: len(raw.Data),
	}}
	d, err := contracts.DecodeDead(raw.Data)
	if err != nil {
		l.Trouble = unreadable(err)
		return l
	}
	l.dead = d
	l.ID, l.Conversation, l.Code = clip(d.ID, longText), clip(d.Conversation, longText), contracts.Code(clip(string(d.Code), longCode))
	l.Attempts, l.Stream, l.Bytes = d.Attempts, clip(d.Stream, longCode), len(d.Original)
	if !d.At.IsZero() && d.At.Year() < 9999 { // JSON has no later year
		l.At = d.At.UTC()
	}
	if err := l.original(); err != nil {
		l.Trouble = unreadable(err)
	}
	return l
}

// unreadable says why, without a byte of what was read.
func unreadable(err error) string {
	if errors.Is(err, contracts.ErrVersion) {
		return "it is of a version that this build does not read; replay it after an upgrade"
	}
	var no refusal
	if errors.As(err, &no) {
		return string(no)
	}
	return "its bytes are not a message of ours"
}

// refusal is a reason why a letter cannot be replayed.
type refusal string

func (r refusal) Error() string { return string(r) }

// original reads what the letter holds, and finds the id of its replay.
func (l *letter) original() (err error) {
	var id string
	var ok bool
	switch l.dead.Stream {
	case contracts.StreamChat:
		c, err := contracts.DecodeLetter(l.dead.Original)
		if err != nil {
			return fmt.Errorf("read message: %w", err)
		}
		id, l.chat, l.Channel = c.ID, &c, contracts.Channel(clip(string(c.Channel), longCode))
	case contracts.StreamSend:
		o, err := contracts.DecodeOutgoing(l.dead.Original)
		if err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		id, l.send, l.Channel = o.ID, &o, contracts.Channel(clip(string(o.Channel), longCode))
	default:
		return refusal("it lay in no stream that a message can be put back into")
	}
	was, err := contracts.ParseID(id)
	if err != nil {
		return fmt.Errorf("read id: %w", err)
	}
	if id != l.dead.ID || was.Conversation != l.dead.Conversation || l.subject(was) != l.dead.Subject {
		return refusal("it contradicts the message within it")
	}
	l.next, ok = was.Rerun()
	if l.send != nil {
		l.next, ok = was.Resend()
	}
	if !ok {
		return refusal("it was replayed too often")
	}
	return nil
}

func (l *letter) subject(id contracts.ID) string {
	if l.send != nil {
		return contracts.SubjectSend(l.send.Channel, id.Conversation)
	}
	return contracts.SubjectChat(id.Conversation)
}

// matches reports whether the filter takes the letter; After and Until are the
// business of whoever reads the stream.
func (l *letter) matches(f contracts.DeadFilter, stored time.Time) bool {
	return (f.Role == "" || f.Role == l.Role) && (f.Code == "" || f.Code == l.Code) && (f.Channel == "" || f.Channel == l.Channel) &&
		(f.Conversation == "" || f.Conversation == l.Conversation) && !stored.Before(f.Since)
}

// subjectOf narrows what the broker sends to the letters of a role.
func subjectOf(role string) string {
	if role == "" {
		return contracts.SubjectsDead
	}
	return contracts.SubjectDead(role)
}
