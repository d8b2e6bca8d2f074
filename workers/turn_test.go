package workers

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/model"
	"moltbot/workers/workerstest"
)

func (p *plant) turn(c completer) *turn {
	o := p.options(c)
	return &turn{
		sealer: o.Sealer, store: o.Store, prompt: o.Prompt, models: model.Only{Completer: c},
		replies: newReplies(p.nc, zerolog.Nop()), window: 10, now: func() time.Time { return time.Unix(50, 0) }, log: zerolog.Nop(),
	}
}

func (p *plant) task(m contracts.Message) mailbox.Task {
	p.t.Helper()
	b, err := contracts.EncodeMessage(m, workerstest.Sealer{})
	must(p.t, err)
	return mailbox.Task{ID: m.ID, Conversation: m.Conversation, Subject: contracts.SubjectChat(m.Conversation), Data: b, Letter: letterOf(b), Attempt: 1}
}

// letterOf is what the mailbox finds out before a run.
func letterOf(b []byte) any {
	_, letter, _ := identify(b)
	return letter
}

// open gives the result that an outcome parks.
func (p *plant) open(m contracts.Message, o mailbox.Outcome) contracts.Result {
	p.t.Helper()
	id, err := contracts.ParseID(m.ID)
	must(p.t, err)
	r, err := p.store.OpenResult(id, o.Result)
	must(p.t, err)
	return r
}

func TestTurn(t *testing.T) {
	p := newPlant(t)
	m := p.message("s", 1, "and now?", "")
	earlier, err := p.store.SealTurn(m.Conversation, contracts.Turn{ID: p.message("s", 0, "", "").ID, User: "before", Assistant: "indeed"})
	must(t, err)
	task := p.task(m)
	task.Context = [][]byte{[]byte("garbage"), earlier}
	tn := p.turn(func(_ context.Context, r model.Request) (model.Answer, error) {
		if len(r.Messages) != 3 || r.Messages[0].Text != "before" || r.Messages[2].Text != "and now?" || r.User != m.Conversation {
			t.Errorf("prompt %+v", r)
		}
		return said("well"), nil
	})
	o, err := tn.Run(t.Context(), task)
	must(t, err)
	if r := p.open(m, o); r.Reply != "well" || r.SessionID != "s" || r.ModelVersion != "test/m" || r.Code != "" {
		t.Errorf("result %+v", r)
	}
	turns, bad := p.store.OpenTurns(m.Conversation, [][]byte{o.Turn})
	if bad != 0 || turns[0].User != "and now?" || turns[0].Assistant != "well" || turns[0].Tokens == 0 {
		t.Errorf("turn %+v, %d bad", turns, bad)
	}
}

func TestTurnOfABodyThatDoesNotOpen(t *testing.T) {
	p := newPlant(t)
	m := p.message("s", 1, "text", "")
	task := p.task(m)
	other := p.task(p.message("other", 1, "text", ""))
	task.Data = other.Data
	tn := p.turn(nil)
	for name, data := range map[string][]byte{"garbage": []byte("x"), "cut": task.Data[:len(task.Data)-40]} {
		task.Data, task.Letter = data, letterOf(data)
		_, err := tn.Run(t.Context(), task)
		if c := contracts.Public(err).Code; c != contracts.CodeDead || contracts.Retryable(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// keyless is a process that was not given the key yet.
type keyless struct{ workerstest.Sealer }

func (keyless) Open([]byte, contracts.Kind, string, string) ([]byte, error) {
	return nil, contracts.ErrNoKey
}

// A message whose key is not here yet is not given up.
func TestTurnWithoutItsKey(t *testing.T) {
	p := newPlant(t)
	tn := p.turn(nil)
	tn.sealer = keyless{}
	_, err := tn.Run(t.Context(), p.task(p.message("s", 1, "text", "")))
	if !contracts.Retryable(err) || contracts.Public(err).Code != contracts.CodeInternal {
		t.Errorf("%v", err)
	}
}

// Who attached while the message ran gets the answer, also when the completer panics.
func TestWaitersOfARun(t *testing.T) {
	p := newPlant(t)
	m := p.message("s", 1, "text", "")
	var tn *turn
	tn = p.turn(func(context.Context, model.Request) (model.Answer, error) {
		tn.replies.attach(m.ID, contracts.SubjectReply("late"))
		return said("well"), nil
	})
	o, err := tn.Run(t.Context(), p.task(m))
	must(t, err)
	if len(o.Waiters) != 1 || o.Waiters[0] != contracts.SubjectReply("late") {
		t.Errorf("waiters %v", o.Waiters)
	}
	tn.models = model.Only{Completer: completer(func(context.Context, model.Request) (model.Answer, error) { panic("odd") })}
	func() {
		defer func() { _ = recover() }()
		_, _ = tn.Run(t.Context(), p.task(m))
		t.Error("no panic")
	}()
	if len(tn.replies.runs) != 0 {
		t.Errorf("left behind: %v", tn.replies.runs)
	}
}

// The client is told what went wrong; a dead letter is the operator's word for it.
func TestFail(t *testing.T) {
	p := newPlant(t)
	m := p.message("s", 1, "text", "")
	timeout := &contracts.Error{Code: contracts.CodeModelTimeout, Message: "slow", Retryable: true}
	for name, c := range map[string]struct {
		why  *contracts.Error
		want contracts.Code
	}{
		"final":                  {&contracts.Error{Code: contracts.CodeModelFailed, Message: "no"}, contracts.CodeModelFailed},
		"stopped":                {&contracts.Error{Code: contracts.CodeStopped, Message: "no"}, contracts.CodeStopped},
		"dead for a cause":       {&contracts.Error{Code: contracts.CodeDead, Message: "no", Err: timeout}, contracts.CodeModelTimeout},
		"dead for no known case": {&contracts.Error{Code: contracts.CodeDead, Message: "no", Err: errors.New("odd: internal")}, contracts.CodeDead},
	} {
		t.Run(name, func(t *testing.T) {
			o := p.turn(nil).Fail(p.task(m), c.why)
			r := p.open(m, o)
			if r.Code != c.want || r.Detail != "no" || r.Reply != "" || r.SessionID != "s" {
				t.Errorf("result %+v", r)
			}
			if o.Turn != nil || o.Out != nil {
				t.Error("a failure leaves a turn or a reply behind")
			}
		})
	}
	t.Run("unreadable", func(t *testing.T) {
		task := p.task(m)
		task.Data = []byte("garbage")
		if r := p.open(m, p.turn(nil).Fail(task, &contracts.Error{Code: contracts.CodeDead, Message: "no"})); r.Code != contracts.CodeDead {
			t.Errorf("result %+v", r)
		}
	})
}
