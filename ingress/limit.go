package ingress

import (
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"moltbot/contracts"
	"moltbot/ingress/limit"
)

// spend takes one request of who's rate, over all processes, and says in the
// answer's headers what is left. Handlers call it once they know who calls; it
// is no middleware, and nothing limits by address but failed authentication
// (unauthorized). A platform's webhooks come from a few addresses, and a 429
// makes it reorder or drop what it delivers: they must never pass through here.
func (in *Ingress) spend(c echo.Context, who Identity) error {
	d, err := in.callers.Take(c.Request().Context(), who.User, who.Rate)
	if err != nil {
		return err
	}
	if d.Limited {
		tell(c.Response().Header(), d)
	}
	if !d.Allowed {
		return limited(d.Retry)
	}
	return nil
}

// tell sets the three headers of draft-ietf-httpapi-ratelimit-headers up to its
// sixth version, which clients know; later ones put them into one.
func tell(h http.Header, d limit.Decision) {
	h.Set("RateLimit-Limit", strconv.Itoa(d.Limit))
	h.Set("RateLimit-Remaining", strconv.Itoa(d.Remaining))
	h.Set("RateLimit-Reset", strconv.FormatInt(int64(math.Ceil(d.Reset.Seconds())), 10))
}

// Limits counts what became of the requests of callers.
func (in *Ingress) Limits() limit.Stats { return in.callers.Stats() }

// limits gives each address a token bucket of this process, for failed
// authentication. It is not shared: an attacker gains a few guesses, and nobody
// can fill Redis with made-up addresses.
type limits struct {
	rate  rate.Limit
	burst int
	now   func() time.Time

	mu      sync.Mutex
	buckets map[string]*bucket
	swept   time.Time
}

type bucket struct {
	limiter *rate.Limiter
	used    time.Time
}

// sweepAfter is how long an unused bucket is kept. By then it is full again for
// any rate above one request in ten minutes and per burst.
const sweepAfter = 10 * time.Minute

// Over manyBuckets a sweep comes sooner, but not with every request: it looks at
// all of them under the lock.
const (
	manyBuckets = 100_000
	sweepAgain  = time.Second
)

func newLimits(r contracts.Rate, now func() time.Time) *limits {
	return &limits{rate: rate.Limit(r.PerSecond), burst: r.Burst, now: now, buckets: make(map[string]*bucket), swept: now()}
}

// take spends one request of name. It gives 0, or how long to wait for the next.
func (l *limits) take(name string) time.Duration {
	if l.rate == 0 {
		return 0
	}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweep(now)
	b := l.buckets[name]
	if b == nil {
		b = &bucket{limiter: rate.NewLimiter(l.rate, l.burst)}
		l.buckets[name] = b
	}
	b.used = now
	r := b.limiter.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now) // a refused request spends nothing
	}
	return wait
}

// sweep forgets unused buckets, so that made-up addresses cost no lasting memory.
func (l *limits) sweep(now time.Time) {
	since := now.Sub(l.swept)
	if since < sweepAfter && (len(l.buckets) < manyBuckets || since < sweepAgain) {
		return
	}
	l.swept = now
	for name, b := range l.buckets {
		if now.Sub(b.used) >= sweepAfter || b.limiter.TokensAt(now) >= float64(l.burst) {
			delete(l.buckets, name)
		}
	}
}

func limited(wait time.Duration) error {
	return &contracts.Error{
		Code: contracts.CodeRateLimited, Message: "too many requests; try again after Retry-After", RetryAfter: wait,
	}
}
