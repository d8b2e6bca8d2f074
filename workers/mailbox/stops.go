package mailbox

import (
	"context"
	"errors"
	"sync"
	"time"

	"moltbot/contracts"
)

// ErrStopped is the cause a run's context ends with when the user stopped it, and
// is in the chain of the error that Runner.Fail is given then.
var ErrStopped = errors.New("the user stopped it")

// stops ends what runs here when the user says so. The store has the last word:
// begin, claim and commit read there what is stopped. This is what makes it quick.
type stops struct {
	now func() time.Time

	mu   sync.Mutex
	runs map[string]*stoppable // by conversation
	told map[string]stopOrder  // by conversation
}

// stoppable is a message that runs.
type stoppable struct {
	seq    uint64
	life   int64
	cancel context.CancelCauseFunc
}

// stopOrder is remembered for a moment: it may come between the look into the
// store and the run.
type stopOrder struct {
	before uint64
	life   int64
	until  time.Time
}

func (o stopOrder) reaches(seq uint64, life int64) bool { return seq < o.before && life == o.life }

const (
	stopsKept = 30 * time.Second
	manyStops = 10_000
)

func newStops(now func() time.Time) *stops {
	return &stops{now: now, runs: make(map[string]*stoppable), told: make(map[string]stopOrder)}
}

// Stop ends what runs here of a conversation and has a lower sequence than before,
// in the life of the stream that is meant.
func (m *Mailbox) Stop(conversation string, before uint64, life int64) {
	s := m.stops
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, o := range s.told {
		if now.After(o.until) {
			delete(s.told, c)
		}
	}
	if len(s.told) >= manyStops {
		clear(s.told) // what is missed is found in the store a beat later
	}
	if old := s.told[conversation]; old.life != life || old.before < before {
		s.told[conversation] = stopOrder{before: before, life: life, until: now.Add(stopsKept)}
	}
	s.cancel(conversation, before, life)
}

// found is Stop for what the store said.
func (s *stops) found(conversation string, before uint64, life int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel(conversation, before, life)
}

func (s *stops) cancel(conversation string, before uint64, life int64) {
	if run := s.runs[conversation]; run != nil && run.seq < before && run.life == life {
		run.cancel(ErrStopped)
	}
}

// stopped reports whether the user stopped a message that was not begun yet.
func (m *Mailbox) stopped(h *holding, t Task) bool {
	m.stops.mu.Lock()
	told := m.stops.told[h.conversation].reaches(t.Sequence, h.created)
	m.stops.mu.Unlock()
	if !told && t.Sequence > h.stop {
		return false
	}
	return m.o.Unstoppable == nil || !m.o.Unstoppable(t.Letter)
}

// stoppable gives the context of a run that Stop ends. end must be called.
func (m *Mailbox) stoppable(ctx context.Context, h *holding, t Task) (run context.Context, end func()) {
	s := m.stops
	run, cancel := context.WithCancelCause(ctx)
	r := &stoppable{seq: t.Sequence, life: h.created, cancel: cancel}
	s.mu.Lock()
	s.runs[h.conversation] = r
	// It may have come since the look at what is told; a message that no stop
	// reaches does not mind its context.
	if s.told[h.conversation].reaches(r.seq, r.life) {
		cancel(ErrStopped)
	}
	s.mu.Unlock()
	return run, func() {
		s.mu.Lock()
		if s.runs[h.conversation] == r { // a holder that lost its lease may still be at it
			delete(s.runs, h.conversation)
		}
		s.mu.Unlock()
		cancel(nil)
	}
}

func stopError(cause error) *contracts.Error {
	return &contracts.Error{Code: contracts.CodeStopped, Message: "stopped by the user", Err: cause}
}

// stoppedRun says of the error of a run whether the user was its reason. The
// context is that of the run.
func stoppedRun(ctx context.Context, err error) error {
	if err == nil || !errors.Is(context.Cause(ctx), ErrStopped) || errors.Is(err, ErrStopped) {
		return err
	}
	return stopError(errors.Join(ErrStopped, err))
}
