package ingress

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"moltbot/contracts"
)

// limits gives each caller a token bucket of this process.
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

func newLimits(r rate.Limit, burst int, now func() time.Time) *limits {
	return &limits{rate: r, burst: burst, now: now, buckets: make(map[string]*bucket), swept: now()}
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
