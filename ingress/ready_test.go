package ingress

import (
	"context"
	"errors"
	"testing"
	"time"

	"moltbot/contracts"
)

func TestReadiness(t *testing.T) {
	now, asked := time.Unix(1, 0), 0
	var err error
	r := NewReadiness(map[string]func(context.Context) error{"a": func(context.Context) error { asked++; return err }}, func() time.Time { return now })
	for range 3 {
		if s := r.Look(t.Context()); s.Status != contracts.StatusReady || s.Checks["a"] != "ok" {
			t.Fatalf("%+v", s)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	now = now.Add(readyFresh)
	err = &contracts.Error{Code: contracts.CodeStoreDown, Message: "public", Err: errors.New("private")}
	if s := r.Look(t.Context()); s.Status != contracts.StatusNotReady || s.Checks["a"] != "public" {
		t.Errorf("%+v", s)
	}
	err, now = nil, now.Add(brokenFresh) // recovery shows at once
	if s := r.Look(t.Context()); s.Status != contracts.StatusReady {
		t.Errorf("%+v", s)
	}
}

func TestACheckThatHangsDoesNotHangTheProbe(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	r := NewReadiness(map[string]func(context.Context) error{"stuck": func(context.Context) error { <-release; return nil }}, time.Now)
	if s := r.Look(t.Context()); s.Status != contracts.StatusNotReady || s.Checks["stuck"] != "no answer" {
		t.Errorf("%+v", s)
	}
}
