package dead

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
)

// mostChanges is how many letters one request may change.
const mostChanges = 100

// Change replays or drops the letter that c names, or the oldest of those that its
// filter takes.
func (l *Letters) Change(ctx context.Context, c contracts.DeadChange) (contracts.DeadReply, error) {
	reply := contracts.DeadReply{Action: c.Action, Done: []contracts.DeadDone{}, Refused: []contracts.DeadRefused{}}
	if c.Letter == "" {
		return l.changeMany(ctx, c, reply)
	}
	one, err := l.find(ctx, c.Letter)
	if err != nil {
		return reply, err
	}
	done, err := l.change(ctx, c.Action, one)
	var no refusal
	if errors.As(err, &no) {
		return reply, &contracts.Error{Code: contracts.CodeConflict, Message: "the dead letter stays: " + string(no), Err: err}
	}
	reply.Done = append(reply.Done, done)
	return reply, err
}

// changeMany goes from old to new, so that what was said first is answered first.
// Until stays what it was at the first request: a letter that dies again is a new
// one, and is not replayed for ever.
func (l *Letters) changeMany(ctx context.Context, c contracts.DeadChange, reply contracts.DeadReply) (contracts.DeadReply, error) {
	s, err := l.stream(ctx)
	if err != nil {
		return reply, err
	}
	state, f := s.CachedInfo().State, c.Filter
	if f.Limit < 1 || f.Limit > mostChanges {
		f.Limit = mostChanges
	}
	if f.Until == 0 || f.Until > state.LastSeq {
		f.Until = state.LastSeq
	}
	reply.After, reply.Until = f.After, f.Until
	var chosen []uint64
	looked := 0
	err = l.each(ctx, subjectOf(f.Role), max(state.FirstSeq, f.After+1), f.Until, func(raw *jetstream.RawStreamMsg) bool {
		if looked++; len(chosen) == f.Limit || looked > l.o.Most {
			reply.More = true
			return false
		}
		if read(raw).matches(f, raw.Time) {
			chosen = append(chosen, raw.Sequence)
		}
		reply.After = raw.Sequence
		return true
	})
	if err != nil {
		return reply, err
	}
	return l.changeAll(ctx, c.Action, chosen, reply)
}

// changeAll reads each letter again: a page of them would be too much to hold.
func (l *Letters) changeAll(ctx context.Context, action string, chosen []uint64, reply contracts.DeadReply) (contracts.DeadReply, error) {
	for _, sequence := range chosen {
		one, err := l.at(ctx, sequence)
		var e *contracts.Error
		if errors.As(err, &e) && e.Code == contracts.CodeNotFound {
			continue // somebody else was faster
		}
		if err != nil {
			return broken(reply, sequence, err)
		}
		done, err := l.change(ctx, action, one)
		var no refusal
		if errors.As(err, &no) {
			reply.Refused = append(reply.Refused, contracts.DeadRefused{Sequence: sequence, ID: one.ID, Reason: string(no)})
			continue
		}
		if err != nil {
			return broken(reply, sequence, err)
		}
		reply.Done = append(reply.Done, done)
	}
	return reply, nil
}

// broken ends a request at a letter that it could not change for now. What was done
// before is said all the same; an error is said only where nothing was.
func broken(reply contracts.DeadReply, sequence uint64, err error) (contracts.DeadReply, error) {
	if len(reply.Done) == 0 && len(reply.Refused) == 0 {
		return reply, err
	}
	reply.After, reply.More = sequence-1, true
	return reply, nil
}

func (l *Letters) change(ctx context.Context, action string, one *letter) (done contracts.DeadDone, err error) {
	done = contracts.DeadDone{Sequence: one.Sequence, ID: one.ID}
	if action == contracts.DeadActReplay {
		if done.Known, err = l.replay(ctx, one); err != nil {
			return done, err
		}
		done.ReplayID = one.next.String()
	}
	return done, l.remove(ctx, one.Sequence)
}

// replay stores the message that the letter becomes and returns once the broker has
// acknowledged it. Its id follows from the letter's: whoever replays the letter
// again, because a crash came before its removal, stores nothing new.
func (l *Letters) replay(ctx context.Context, one *letter) (known bool, err error) {
	if one.Trouble != "" {
		return false, refusal(one.Trouble)
	}
	data, err := l.again(one)
	if err != nil {
		return false, refusal("it cannot be sealed under its new id: " + sealedReason(err))
	}
	m := &nats.Msg{Subject: one.dead.Subject, Data: data, Header: nats.Header{jetstream.MsgIDHeader: []string{one.next.String()}}}
	ctx, cancel := context.WithTimeout(ctx, l.o.Timeout)
	defer cancel()
	ack, err := l.o.JS.PublishMsg(ctx, m, jetstream.WithExpectStream(one.dead.Stream))
	if err != nil {
		return false, stored(err)
	}
	return ack.Duplicate, nil
}

// Codes of the server for a stream that takes nothing more of this, and for one
// that is too large for it.
const (
	storeFailed jetstream.ErrorCode = 10077
	tooLarge    jetstream.ErrorCode = 10054
)

func stored(err error) error {
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api) && api.ErrorCode == storeFailed:
		return fmt.Errorf("publish: %w", errors.Join(refusal("the queue, or the conversation's part of it, is full; replay it later"), err))
	case errors.As(err, &api) && api.ErrorCode == tooLarge, errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("publish: %w", errors.Join(refusal("it is too large for the queue"), err))
	}
	return down("publish the replayed message", err)
}

func (l *Letters) again(one *letter) ([]byte, error) {
	if one.send != nil {
		return l.sendAgain(one)
	}
	m, err := one.chat.Open(l.o.Sealer)
	if err != nil {
		return nil, err
	}
	// Nobody waits for it any more, and it is young: it was accepted now.
	m.ID, m.ReplyTo, m.Accepted = one.next.String(), "", l.o.Now()
	m.Flags &^= contracts.FlagStream | contracts.FlagShown
	return contracts.EncodeMessage(m, l.o.Sealer)
}

// sendAgain leaves the answer as it is, with the id of its message, under which the
// record of its delivery is kept: parts that were sent are not sent again.
func (l *Letters) sendAgain(one *letter) ([]byte, error) {
	a, err := l.answer(one)
	if err != nil {
		return nil, err
	}
	o := *one.send
	o.ID = one.next.String()
	if o.Data, err = l.o.Sealer.Seal(contracts.EncodeAnswer(a), contracts.KindSend, o.Conversation, o.ID); err != nil {
		return nil, fmt.Errorf("seal answer: %w", err)
	}
	return contracts.EncodeOutgoing(o)
}
