package token

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fetching gives tokens 1, 2, … as steps says.
type fetching struct {
	mu    sync.Mutex
	n     int
	step  func(n int) error
	lives time.Duration
}

func (f *fetching) fetch(context.Context) (Token, error) {
	f.mu.Lock()
	f.n++
	n := f.n
	f.mu.Unlock()
	if f.step != nil {
		if err := f.step(n); err != nil {
			return Token{}, err
		}
	}
	return Token{Value: strconv.Itoa(n), Lives: f.lives}, nil
}

func TestWhoeverComesMeanwhileWaitsForTheSame(t *testing.T) {
	began, go1 := make(chan struct{}), make(chan struct{})
	f := &fetching{lives: time.Hour, step: func(int) error { close(began); <-go1; return nil }}
	s := New(Options{Fetch: f.fetch})
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() { _, err := s.Get(ctx); left <- err }()
	<-began
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if got, err := s.Get(t.Context()); err != nil || got.Value != "1" {
				t.Error(got.Value, err)
			}
		})
	}
	leave() // the one for which it is fetched goes; the others still get it
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(go1)
	wg.Wait()
	if f.n != 1 {
		t.Errorf("fetched %d times", f.n)
	}
}

func TestOnlyTheTokenThatWasRefusedIsDropped(t *testing.T) {
	f := &fetching{lives: time.Hour}
	s := New(Options{Fetch: f.fetch})
	old, err := s.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Drop(old)
	if got, _ := s.Get(t.Context()); got.Value != "2" {
		t.Error(got.Value)
	}
	s.Drop(old) // comes late
	if got, _ := s.Get(t.Context()); got.Value != "2" {
		t.Error("a newer token was dropped")
	}
}

func TestAFailureIsNotKept(t *testing.T) {
	wrong := errors.New("down")
	f := &fetching{lives: time.Hour, step: func(n int) error {
		if n == 1 {
			return wrong
		}
		return nil
	}}
	s := New(Options{Fetch: f.fetch})
	if _, err := s.Get(t.Context()); !errors.Is(err, wrong) {
		t.Fatal(err)
	}
	if got, err := s.Get(t.Context()); err != nil || got.Value != "2" {
		t.Error(got.Value, err)
	}
}

func TestATokenEndsEarly(t *testing.T) {
	now := time.Unix(0, 0)
	f := &fetching{lives: time.Hour}
	s := New(Options{Fetch: f.fetch, Early: time.Minute, Now: func() time.Time { return now }})
	for _, step := range []struct {
		after time.Duration
		want  string
	}{{0, "1"}, {58 * time.Minute, "1"}, {time.Minute, "2"}} {
		now = now.Add(step.after)
		if got, _ := s.Get(t.Context()); got.Value != step.want {
			t.Errorf("%s later: %s, want %s", step.after, got.Value, step.want)
		}
	}
}

// One that lives shorter than it is kept from its end is used by who asked, and
// fetched anew by the next.
func TestAShortLife(t *testing.T) {
	f := &fetching{lives: time.Second}
	s := New(Options{Fetch: f.fetch, Early: time.Minute})
	for _, want := range []string{"1", "2"} {
		if got, err := s.Get(t.Context()); err != nil || got.Value != want {
			t.Error(got.Value, err)
		}
	}
}
