package ingress_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"moltbot/contracts"
	"moltbot/ingress"
)

// stopper notes what it is asked.
type stopper struct {
	mu       sync.Mutex
	life     int64
	lifeErr  error
	stopErr  error
	asked    []string
	onLookup func()
}

func (s *stopper) Life(context.Context) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.onLookup != nil {
		s.onLookup()
	}
	return s.life, s.lifeErr
}

func (s *stopper) Stop(_ context.Context, conversation string, before uint64, life int64) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, fmt.Sprintf("%s before %d of %d", conversation, before, life))
	return true, s.stopErr
}

func (s *stopper) took() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

// cancels gives what is published for the workers.
func (r *rig) cancels() chan contracts.Cancel {
	r.t.Helper()
	all := make(chan contracts.Cancel, 100)
	if _, err := r.test.Subscribe(contracts.SubjectsCancel, func(m *nats.Msg) {
		c, err := contracts.DecodeCancel(m.Data)
		if err != nil {
			r.t.Error(err)
		}
		all <- c
	}); err != nil {
		r.t.Fatal(err)
	}
	if err := r.test.Flush(); err != nil {
		r.t.Fatal(err)
	}
	return all
}

// A command to stop is stored like any message, and what lies before it is stopped
// by its sequence: first in the store, then the workers are told.
func TestStop(t *testing.T) {
	s := &stopper{life: 7}
	r := newRig(t, func(o *ingress.Options) { o.Stopper, o.GroupCommit = s, true })
	cancels := r.cancels()
	for range 3 {
		r.post(say("hi", `"timeout":0`, `"session_id":"s"`))
	}
	if len(s.took()) != 0 {
		t.Fatal("a message stops")
	}
	s.onLookup = func() { // before it is stored: its sequence must belong to this life
		if n := r.stored(); n != 3 {
			t.Errorf("%d messages are stored", n)
		}
	}
	first := r.post(say("/stop", `"timeout":0`, `"session_id":"s"`), "Idempotency-Key: k").chat(t)
	id, err := contracts.ParseID(first.ID)
	if err != nil {
		t.Fatal(err)
	}
	want := id.Conversation + " before 4 of 7"
	if got := s.took(); len(got) != 1 || got[0] != want {
		t.Errorf("%v, want %s", got, want)
	}
	if c := await(t, "a cancel", cancels); c.ID != first.ID || c.Before != 4 || c.Life != 7 {
		t.Errorf("%+v", c)
	}
	// A repetition does not reach what was sent since.
	s.onLookup = nil
	r.post(say("more", `"timeout":0`, `"session_id":"s"`))
	if again := r.post(say("/stop", `"timeout":0`, `"session_id":"s"`), "Idempotency-Key: k").chat(t); again.ID != first.ID {
		t.Errorf("%s again as %s", first.ID, again.ID)
	}
	if got := s.took(); len(got) != 1 || got[0] != want {
		t.Errorf("repeated: %v", got)
	}
	if c := await(t, "a cancel", cancels); c.Before != 4 {
		t.Errorf("%+v", c)
	}

	// Without a look at the stream nothing is stopped; the command is stored all the same.
	s.lifeErr = errors.New("away")
	if res := r.post(say("停止", `"timeout":0`)); res.status != 202 || len(s.took()) != 0 || len(cancels) != 0 {
		t.Errorf("%d %s", res.status, res.body)
	}
	s.life, s.lifeErr = 0, nil
	if res := r.post(say("/stop", `"timeout":0`)); res.status != 202 || len(s.took()) != 0 || len(cancels) != 0 {
		t.Errorf("%d %s", res.status, res.body)
	}
	// What runs is stopped although the store did not take it.
	s.life, s.stopErr = 7, errors.New("away")
	if res := r.post(say("/停止", `"timeout":0`)); res.status != 202 || len(s.took()) != 1 {
		t.Errorf("%d %s", res.status, res.body)
	}
	if c := await(t, "a cancel", cancels); c.Before != 8 {
		t.Errorf("%+v", c)
	}
	// Other commands, and what a client of /v1 says, stop nothing.
	r.post(say("/new", `"timeout":0`))
	if got := s.took(); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// Commands cost no model: neither an empty budget nor a default that the token
// may not use is in their way. In a session the workers decide about models.
func TestCommandsNeedNoModel(t *testing.T) {
	table, with := withModels(t)
	table.router = routed(t, "slow")
	r := newRig(t, with, func(o *ingress.Options) { o.DailyTokens, o.Budget = 10, &spent{10} })
	w := r.work(answered)
	few := "Authorization: Bearer " + poor
	for _, text := range []string{"/help", "/stop", "/new", "/model fast", "帮助"} {
		if res := r.post(say(text), few); res.status != 200 {
			t.Errorf("%s: %d %s", text, res.status, res.body)
			continue
		}
		if m := await(t, "the message", w.taken); m.Text != text || len(m.Allow) != 2 || m.Allow[0] != "fast" || m.Model != "" {
			t.Errorf("%+v", m)
		}
	}
	problem(t, r.post(say("/other", `"session_id":"s"`), few), contracts.CodeBudget)
}

func TestModelsOfTheCaller(t *testing.T) {
	table, with := withModels(t)
	table.router = routed(t, "slow")
	r := newRig(t, with)
	w := r.work(answered)
	few := "Authorization: Bearer " + poor
	problem(t, r.post(say("hi"), few), contracts.CodeModelUnknown)
	for text, header := range map[string]string{"one": few, "two": "Authorization: Bearer " + ann} {
		if res := r.post(say(text, `"session_id":"s"`), header); res.status != 200 {
			t.Errorf("%d %s", res.status, res.body)
		}
		if m := await(t, "the message", w.taken); len(m.Allow) != map[string]int{"one": 2, "two": 0}[m.Text] {
			t.Errorf("%+v", m)
		}
	}
	if res := r.complete(ask(user("x")), few); res.status != 200 {
		t.Errorf("%d %s", res.status, res.body)
	}
	if m := await(t, "the message", w.taken); len(m.Allow) != 2 {
		t.Errorf("%+v", m)
	}
}

// routed is a table with a default.
func routed(t *testing.T, preferred string) *contracts.Router {
	t.Helper()
	router, err := contracts.NewRouter(contracts.ModelTable{
		Default: preferred, Models: map[string]contracts.ModelEntry{
			"fast": {Provider: "acme", Model: "acme-1"}, "slow": {Provider: "acme", Model: "acme-2"},
		},
	}, 1)
	if err != nil {
		t.Fatal(err)
	}
	return router
}

// spent says the same of every caller.
type spent struct{ tokens int64 }

func (s *spent) Spent(context.Context, string) (int64, error) { return s.tokens, nil }
