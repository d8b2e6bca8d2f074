package chain

import (
	"errors"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/workers/model"
)

// A breaker opens when as many of the last calls failed, and lets one call
// through to try again after a while.
const (
	breakAt    = 5
	breakOf    = 10
	breakPause = 5 * time.Second
)

// breaker leaves a provider alone that is down: with all of its keys, because
// what one key meets is for the provider's completer to judge.
type breaker struct {
	circuit circuitbreaker.CircuitBreaker[any]

	// mu makes a change of the circuit and of state one step: the circuit lets go of
	// its own lock before it tells of a change, and a permit with the old state would
	// never be given back.
	mu    sync.Mutex
	state uint64 // grows with every change of the circuit
}

func newBreaker(provider string, log zerolog.Logger) *breaker {
	b := &breaker{}
	b.circuit = circuitbreaker.NewBuilder[any]().WithFailureThresholdRatio(breakAt, breakOf).WithSuccessThreshold(1).
		WithDelay(breakPause).OnStateChanged(func(e circuitbreaker.StateChangedEvent) {
		b.state++ // under mu: only enter and leave change the circuit
		switch {
		case e.NewState == circuitbreaker.OpenState && e.OldState == circuitbreaker.ClosedState:
			log.Warn().Str("provider", provider).Msg("model provider fails, it is left alone")
		case e.NewState == circuitbreaker.ClosedState:
			log.Info().Str("provider", provider).Msg("model provider answers again")
		}
	}).Build()
	return b
}

// shut reports whether nobody may call, without taking the place of who may try.
func (b *breaker) shut() bool { return b.circuit.IsOpen() && b.circuit.RemainingDelay() > 0 }

// wait is how long it stays shut, at least a second: another call tries already.
func (b *breaker) wait() time.Duration { return max(b.circuit.RemainingDelay(), time.Second) }

// permit is one call's leave. It counts only for the state it was given in: what
// began before a breaker opened says nothing about the provider after it.
type permit struct {
	breaker *breaker
	state   uint64
}

func (b *breaker) enter() (permit, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ok := b.circuit.TryAcquirePermit()
	return permit{b, b.state}, ok
}

// leave records how the call ended. Every permit must be left, because a half-open
// circuit has only one. Whoever gave up has learned nothing, but that the one try
// was in vain.
func (p permit) leave(sick, gaveUp bool) {
	p.breaker.mu.Lock()
	defer p.breaker.mu.Unlock()
	c := p.breaker.circuit
	switch {
	case p.state != p.breaker.state:
	case sick, gaveUp && c.IsHalfOpen():
		c.RecordFailure()
	case !gaveUp:
		c.RecordSuccess()
	}
}

// sick reports whether an error counts against the provider. One that has too
// many calls works; its keys rest instead.
func sick(err error) bool {
	kind := model.KindOf(err)
	return kind.Sick() && kind != model.KindBusy
}

var errShut = errors.New("its provider has failed and is left alone")

// leftAlone is the error of a call that was not made.
func leftAlone(wait time.Duration) error {
	return &contracts.Error{
		Code: contracts.CodeModelFailed, Message: "the model is not available", Retryable: true, RetryAfter: wait, Err: errShut,
	}
}
