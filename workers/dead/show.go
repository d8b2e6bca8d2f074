package dead

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
)

// Show gives a letter, named by its sequence or its message's id, with the reason
// opened; with body, what was said, too.
func (l *Letters) Show(ctx context.Context, name string, body bool) (contracts.DeadDetail, error) {
	one, err := l.find(ctx, name)
	if err != nil {
		return contracts.DeadDetail{}, err
	}
	d := contracts.DeadDetail{Letter: one.DeadLetter, Reason: l.reason(one)}
	if one.Trouble == "" {
		d.ReplayID = one.next.String()
	}
	if !body {
		return d, nil
	}
	if d.Body, err = l.body(one); err != nil {
		return d, &contracts.Error{Code: contracts.CodeConflict, Message: "its body cannot be shown: " + sealedReason(err), Err: err}
	}
	return d, nil
}

// find gives the letter of a sequence, or the one with a message's id.
func (l *Letters) find(ctx context.Context, name string) (*letter, error) {
	if sequence, err := strconv.ParseUint(name, 10, 64); err == nil {
		return l.at(ctx, sequence)
	}
	return l.named(ctx, name)
}

func (l *Letters) at(ctx context.Context, sequence uint64) (*letter, error) {
	s, err := l.stream(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, l.o.Timeout)
	defer cancel()
	if sequence == 0 {
		return nil, none()
	}
	raw, err := s.GetMsg(ctx, sequence)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil, none()
	case err != nil:
		return nil, down("read dead letter", err)
	}
	return read(raw), nil
}

// named looks for a message's id. A message and its answer may both have died: then
// the operator says which is meant.
func (l *Letters) named(ctx context.Context, id string) (found *letter, err error) {
	s, err := l.stream(ctx)
	if err != nil {
		return nil, err
	}
	state := s.CachedInfo().State
	two := false
	err = l.each(ctx, contracts.SubjectsDead, state.FirstSeq, state.LastSeq, func(raw *jetstream.RawStreamMsg) bool {
		one := read(raw)
		if one.ID != id || id == "" {
			return true
		}
		if found != nil && found.Sequence != one.Sequence {
			two = true
			return false
		}
		found = one
		return true
	})
	switch {
	case err != nil:
		return nil, err
	case two:
		return nil, &contracts.Error{Code: contracts.CodeConflict, Message: "there is more than one dead letter with this id; name its sequence"}
	case found == nil:
		return nil, none()
	}
	return found, nil
}

func none() error {
	return &contracts.Error{Code: contracts.CodeNotFound, Message: "there is no such dead letter"}
}

func (l *Letters) reason(one *letter) string {
	if len(one.dead.Detail) == 0 {
		return one.Trouble
	}
	plain, err := l.o.Sealer.Open(one.dead.Detail, contracts.KindDead, one.dead.Conversation, one.dead.ID)
	if err != nil {
		return "the reason cannot be opened: " + sealedReason(err)
	}
	return string(plain)
}

// sealedReason is what an operator can do about a value that does not open.
func sealedReason(err error) string {
	switch {
	case errors.Is(err, contracts.ErrNoKey):
		return "this process does not hold the key that it was sealed with"
	case errors.Is(err, contracts.ErrVersion):
		return "it is of a version that this build does not read"
	}
	return "it was not sealed for this place, or it was changed"
}

func (l *Letters) body(one *letter) (*contracts.DeadBody, error) {
	switch {
	case one.chat != nil:
		m, err := one.chat.Open(l.o.Sealer)
		if err != nil {
			return nil, err
		}
		b := &contracts.DeadBody{
			Caller: m.Caller, Session: m.SessionID, Accepted: m.Accepted, Text: m.Text, Model: m.Model, Prompt: m.Prompt, Callback: m.Callback,
		}
		return from(b, m.Origin), nil
	case one.send != nil:
		a, err := l.answer(one)
		if err != nil {
			return nil, err
		}
		b := &contracts.DeadBody{
			Caller: a.Caller, Session: a.Result.SessionID, Accepted: a.Accepted, Text: a.Text, Model: a.Result.Model, Callback: a.Callback,
		}
		if b.Text == "" {
			b.Text = a.Result.Reply
		}
		return from(b, a.Origin), nil
	}
	return nil, errors.New("the original is not readable")
}

func from(b *contracts.DeadBody, o *contracts.Origin) *contracts.DeadBody {
	if o != nil {
		b.App, b.Chat, b.Sender, b.SentAt = o.App, o.Chat, o.Sender, o.At
	}
	return b
}

// answer opens what was to be sent.
func (l *Letters) answer(one *letter) (contracts.Answer, error) {
	plain, err := l.o.Sealer.Open(one.send.Data, contracts.KindSend, one.send.Conversation, one.send.ID)
	if err != nil {
		return contracts.Answer{}, fmt.Errorf("open answer: %w", err)
	}
	return contracts.DecodeAnswer(plain)
}
