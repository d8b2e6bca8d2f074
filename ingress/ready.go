package ingress

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"moltbot/contracts"
)

// Times of a probe.
const (
	readyTimeout = time.Second            // for all checks together
	readyFresh   = time.Second            // probes within this share one look that found all well
	brokenFresh  = 100 * time.Millisecond // and one that did not, so that recovery shows at once
)

// Readiness asks the dependencies, at most once a second however many probe.
type Readiness struct {
	checks   map[string]func(context.Context) error
	now      func() time.Time
	stopping atomic.Bool

	channels func() map[string]string // nil: there are none

	mu   sync.Mutex
	last contracts.Ready
	at   time.Time
}

// NewReadiness gives a Readiness over checks. Their errors are reduced to what
// contracts.Public lets out, because the probe is public.
func NewReadiness(checks map[string]func(context.Context) error, now func() time.Time) *Readiness {
	return &Readiness{checks: checks, now: now}
}

// Stop makes it not ready for good.
func (r *Readiness) Stop() { r.stopping.Store(true) }

// Look gives what is known, no older than a second. It waits no longer than a
// second, whatever the checks do.
func (r *Readiness) Look(ctx context.Context) contracts.Ready {
	out := r.look(ctx)
	if r.channels != nil && !r.stopping.Load() {
		out.Channels = r.channels() // it asks nobody, so that it is never old
	}
	return out
}

func (r *Readiness) look(ctx context.Context) contracts.Ready {
	if r.stopping.Load() {
		return contracts.Ready{Status: contracts.StatusNotReady, Checks: map[string]string{"ingress": "shutting down"}}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	fresh := readyFresh
	if r.last.Status != contracts.StatusReady {
		fresh = brokenFresh
	}
	if !r.at.IsZero() && r.now().Sub(r.at) < fresh {
		return r.last
	}
	r.last, r.at = r.ask(ctx), r.now()
	return r.last
}

func (r *Readiness) ask(ctx context.Context) contracts.Ready {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTimeout)
	defer cancel()
	type answer struct{ name, text string }
	answers := make(chan answer, len(r.checks))
	out := contracts.Ready{Status: contracts.StatusReady, Checks: make(map[string]string, len(r.checks))}
	for name, check := range r.checks {
		out.Checks[name] = "no answer" // until it comes
		go func() {
			text := "ok"
			if err := check(ctx); err != nil {
				text = contracts.Public(err).Message
			}
			answers <- answer{name, text}
		}()
	}
	for range r.checks {
		select {
		case a := <-answers:
			out.Checks[a.name] = a.text
		case <-ctx.Done(): // a check that does not heed it must not hang the probe
		}
	}
	for _, text := range out.Checks {
		if text != "ok" {
			out.Status = contracts.StatusNotReady
		}
	}
	return out
}
