package ingress_test

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go"

	"moltbot/contracts"
	"moltbot/ingress"
)

// abandoner answers what it is told to.
type abandoner struct {
	asked   chan contracts.ID
	answers chan error // nil: finished
}

var errBusy = errors.New("busy")

func (a *abandoner) Abandon(ctx context.Context, id contracts.ID) (bool, error) {
	a.asked <- id
	select {
	case err := <-a.answers:
		if errors.Is(err, errBusy) {
			return true, nil
		}
		return false, err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// A message that runs is cancelled as often as it takes; one that nobody runs is finished.
func TestAbandon(t *testing.T) {
	a := &abandoner{make(chan contracts.ID, 10), make(chan error, 10)}
	r := newRig(t, func(o *ingress.Options) { o.Abandoner = a })
	id, err := contracts.ParseID(r.post(say("hi", `"timeout":0`)).chat(t).ID)
	if err != nil {
		t.Fatal(err)
	}
	cancels := make(chan contracts.Cancel, 10)
	if _, err := r.test.Subscribe(contracts.SubjectCancel(id.Conversation), func(m *nats.Msg) {
		c, err := contracts.DecodeCancel(m.Data)
		if err != nil {
			t.Error(err)
		}
		cancels <- c
	}); err != nil {
		t.Fatal(err)
	}
	if err := r.test.Flush(); err != nil {
		t.Fatal(err)
	}
	a.answers <- errBusy
	a.answers <- errors.New("the store is away")
	a.answers <- errBusy
	a.answers <- nil
	r.in.Abandon(id)
	for range 4 {
		if got := await(t, "a try", a.asked); got != id {
			t.Errorf("asked for %v", got)
		}
	}
	for range 2 {
		if c := await(t, "a cancel", cancels); c.ID != id.String() {
			t.Errorf("%+v", c)
		}
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	r.in.Abandon(id) // too late, and harmless
	if n := len(a.asked) + len(cancels); n != 0 {
		t.Errorf("%d tries too many", n)
	}
}

// At shutdown the try that is under way is finished, and the next ones are not waited for.
func TestAbandonAtShutdown(t *testing.T) {
	a := &abandoner{make(chan contracts.ID, 10), make(chan error, 10)}
	r := newRig(t, func(o *ingress.Options) { o.Abandoner = a })
	id, err := contracts.ParseID(r.post(say("hi", `"timeout":0`)).chat(t).ID)
	if err != nil {
		t.Fatal(err)
	}
	for range cap(a.answers) {
		a.answers <- errBusy
	}
	r.in.Abandon(id)
	await(t, "a try", a.asked)
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	if err := await(t, "the end", stopped); err != nil { // all tries take longer than await is patient
		t.Error(err)
	}
}
