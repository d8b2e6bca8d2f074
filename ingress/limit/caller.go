package limit

import (
	"math"
	"sync"
	"time"

	"moltbot/contracts"
)

// A fast caller does not pay a round trip for each request: a process takes a
// small block in advance and spends it by itself. What is in a block is spent
// from the shared bucket already, so the count stays exact; only the moment of
// spending moves, by at most lasting. A caller can therefore exceed its burst by
// what the processes hold in that moment: one block each, which is 20 ms of its
// rate and at most a tenth of its burst (and what was taken for requests that
// were waiting and whose clients left that instant). In a minute that is less
// than 0.04 % of the rate for each process.
const (
	lasting    = 100 * time.Millisecond // life of a block
	blockTime  = 20 * time.Millisecond  // worth of a block, at the caller's rate
	blockShare = 10                     // and at most this part of the burst
)

// caller is what this process knows of one budget.
type caller struct {
	key  string // in Redis
	rate contracts.Rate
	most int // largest block

	mu      sync.Mutex
	prepaid int       // taken from the shared bucket and not yet spent
	expires time.Time // of prepaid
	refuse  time.Time // until then Redis would refuse: it is not asked
	full    time.Time // when the shared bucket is full again, by our clock
	block   int       // how many to take next time
	asked   time.Time // when we did last
	flight  *flight   // the call that is under way, if any
	unmet   int       // requests that waited for the last one and got nothing
}

// flight is one call to Redis, shared by all requests that wait for it.
type flight struct {
	landed  chan struct{} // closed when its answer is there, or it failed
	waiting int           // requests that wait for it
	granted int           // to them, after it landed; then:
	refused bool          // nothing is left for the others
}

func newCaller(rate contracts.Rate) *caller {
	block := min(int(rate.PerSecond*blockTime.Seconds()), rate.Burst/blockShare)
	return &caller{rate: rate, most: max(1, block), block: 1}
}

// take decides from what is known here. Otherwise it gives the flight to wait
// for; whoever waited claims from it, or leaves.
func (c *caller) take(now time.Time, s *source) (Decision, *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.prepaid > 0 && now.Before(c.expires):
		c.prepaid--
		return c.decision(now, true), nil
	case now.Before(c.refuse):
		s.stats.shielded.Add(1)
		return c.refused(now, c.refuse.Sub(now)), nil
	}
	c.prepaid = 0
	if c.flight == nil {
		if !s.open(now) {
			s.fallback()
			return c.alone(now), nil
		}
		c.flight = s.ask(c, max(c.size(now), min(c.unmet, c.rate.Burst)))
		c.unmet = 0
	}
	c.flight.waiting++
	return Decision{}, c.flight
}

// claim gives a request that waited for f its share, or its refusal. A request
// that got neither takes again: f failed, or brought less than there is, in which
// case the next one brings as much as is missing.
func (c *caller) claim(f *flight, now time.Time) (Decision, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case f.granted > 0:
		f.granted--
		return c.decision(now, true), true
	case f.refused:
		return c.refused(now, max(time.Millisecond, c.refuse.Sub(now))), true
	}
	return Decision{}, false
}

func (c *caller) leave(f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.waiting--
}

// size is how many to take now. It grows while blocks are used up soon and
// shrinks when they last, so that a slow caller's share does not expire unspent.
func (c *caller) size(now time.Time) int {
	switch since := now.Sub(c.asked); {
	case since > lasting:
		c.block = 1
	case since > lasting/2:
		c.block = max(1, c.block/2)
	case since < lasting/4:
		c.block = min(2*c.block, c.most)
	}
	c.asked = now
	return c.block
}

// land takes in the answer of f, unless f was given up meanwhile: then what it
// took is lost, and the caller gets a few less, never more.
func (c *caller) land(f *flight, s *source, a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flight != f {
		return
	}
	now := s.o.Now()
	c.flight = nil
	f.granted = min(a.taken, f.waiting)
	c.unmet = f.waiting - f.granted
	// The rest is for later, or for those who got nothing from the flight before
	// and are just coming back.
	c.prepaid, c.expires = a.taken-f.granted, now.Add(lasting)
	c.full, c.refuse = now.Add(a.full), time.Time{}
	if a.again > 0 {
		c.refuse, f.refused, c.unmet = now.Add(a.again), true, 0
	}
	s.worked()
	close(f.landed)
}

// crash ends f without an answer, unless it has ended. Redis is marked as down
// first, so that who waited does not ask it once more.
func (c *caller) crash(f *flight, s *source, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flight != f {
		return
	}
	c.flight = nil
	s.failed(err)
	close(f.landed)
}

// alone decides by this process' own count, which goes on where the shared one
// was last seen. N processes let through N times the rate meanwhile.
func (c *caller) alone(now time.Time) Decision {
	debt := c.debt(now)
	if over := debt + c.earn(1) - c.earn(c.rate.Burst); over > 0 {
		return c.refused(now, over)
	}
	c.full = now.Add(debt + c.earn(1))
	return c.decision(now, true)
}

// debt is how long the bucket takes to be full again.
func (c *caller) debt(now time.Time) time.Duration { return max(0, c.full.Sub(now)) }

// earn is the time in which n requests are earned.
func (c *caller) earn(n int) time.Duration {
	return time.Duration(float64(n) * float64(time.Second) / c.rate.PerSecond)
}

func (c *caller) refused(now time.Time, retry time.Duration) Decision {
	d := c.decision(now, false)
	d.Remaining, d.Retry = 0, retry
	return d
}

func (c *caller) decision(now time.Time, allowed bool) Decision {
	debt := c.debt(now)
	// Redis rounds up to the next microsecond, which is not one request more.
	spent := (debt - 2*time.Microsecond).Seconds() * c.rate.PerSecond
	left := c.rate.Burst - max(0, int(math.Ceil(spent)))
	return Decision{
		Allowed: allowed, Limited: true, Limit: c.rate.Burst, Reset: debt,
		Remaining: min(c.rate.Burst, max(0, left)+c.prepaid),
	}
}

// idle reports that nothing is lost when c is forgotten.
func (c *caller) idle(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flight == nil && !now.Before(c.full) && !now.Before(c.refuse) && !now.Before(c.expires)
}
