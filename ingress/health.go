package ingress

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"moltbot/contracts"
)

func (in *Ingress) health(c echo.Context) error {
	return c.JSON(http.StatusOK, contracts.Health{Status: "healthy", Uptime: int64(in.o.Now().Sub(in.started).Seconds())})
}

// live says that the process answers. It asks no dependency, so that a broken
// broker does not make an orchestrator restart every replica.
func (in *Ingress) live(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]string{"status": "live"})
}

func (in *Ingress) readyz(c echo.Context) error {
	r := in.ready.look(c.Request().Context())
	status := http.StatusOK
	if r.Status != ready {
		status = http.StatusServiceUnavailable
	}
	return c.JSON(status, r)
}

// What /readyz says.
const (
	ready    = "ready"
	notReady = "not_ready"
)

// Times of readiness checks.
const (
	readyTimeout = time.Second            // for all dependencies together
	readyFresh   = time.Second            // probes within this share one look that found all well
	brokenFresh  = 100 * time.Millisecond // and one that did not, so that recovery shows at once
)

// readiness asks the dependencies, at most once per readyFresh however many probe.
type readiness struct {
	checks   map[string]func(context.Context) error
	now      func() time.Time
	stopping atomic.Bool

	mu   sync.Mutex
	last contracts.Ready
	at   time.Time
}

func newReadiness(checks map[string]func(context.Context) error, now func() time.Time) *readiness {
	return &readiness{checks: checks, now: now}
}

func (r *readiness) stop() { r.stopping.Store(true) }

func (r *readiness) look(ctx context.Context) contracts.Ready {
	if r.stopping.Load() {
		return contracts.Ready{Status: notReady, Checks: map[string]string{"ingress": "shutting down"}}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	fresh := readyFresh
	if r.last.Status != ready {
		fresh = brokenFresh
	}
	if r.now().Sub(r.at) < fresh {
		return r.last
	}
	r.last, r.at = r.ask(ctx), r.now()
	return r.last
}

func (r *readiness) ask(ctx context.Context) contracts.Ready {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTimeout)
	defer cancel()
	type answer struct{ name, text string }
	answers := make(chan answer, len(r.checks))
	for name, check := range r.checks {
		go func() {
			text := "ok"
			if err := check(ctx); err != nil {
				text = contracts.Public(err).Message // never internals: the probe is public
			}
			answers <- answer{name, text}
		}()
	}
	now := contracts.Ready{Status: ready, Checks: make(map[string]string, len(r.checks))}
	for name := range r.checks {
		now.Checks[name] = "no answer" // until it comes
	}
	for range r.checks {
		select {
		case a := <-answers:
			now.Checks[a.name] = a.text
		case <-ctx.Done(): // a check that does not heed it must not hang the probe
		}
	}
	for _, text := range now.Checks {
		if text != "ok" {
			now.Status = notReady
		}
	}
	return now
}
