package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"moltbot/workers/model"
)

const (
	refusedFor    = 5 * time.Minute  // how long a key that is not taken is set aside, at first
	refusedAtMost = time.Hour        // and at most: it doubles
	unpaidFor     = time.Minute      // how long one whose quota is used up, if the provider does not say
	unpaidAtMost  = 10 * time.Minute // and if it does
)

// ring gives the calls their keys in turn, and sets aside those that the
// provider does not take. A provider without keys has a ring of one empty key
// that is never set aside.
type ring struct {
	provider string
	log      zerolog.Logger
	now      func() time.Time
	bare     bool

	mu   sync.Mutex
	keys []key
	next int
}

type key struct {
	secret  string
	until   time.Time
	refused bool // or unpaid
	times   int  // so in a row
	turn    int  // grows whenever it is set aside
}

// loan is a key that a call has. It knows the turn it was given in, so that of a
// hundred calls that learn of the same refusal one sets the key aside.
type loan struct {
	at, turn int
	secret   string
}

// spent is the error of a call for which no key was left.
type spent struct {
	wait    time.Duration // until the first is usable again
	refused bool          // all of them are refused, and none has just had too many calls
	last    error         // what the last one met; may be nil
}

func (s spent) Error() string {
	if s.last == nil {
		return "no key is usable"
	}
	return fmt.Sprintf("no key is usable, the last one met: %v", s.last)
}

func newRing(o *Options) *ring {
	r := &ring{provider: o.Provider, log: o.Log, now: o.Now, bare: len(o.Keys) == 0}
	for _, k := range o.Keys {
		r.keys = append(r.keys, key{secret: k})
	}
	if r.bare {
		r.keys = []key{{}}
	}
	return r
}

func (r *ring) len() int { return len(r.keys) }

// take gives the next usable key to a call whose last one, if any, met err.
func (r *ring) take(err error) (loan, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	for i := range r.keys {
		at := (r.next + i) % len(r.keys)
		if k := &r.keys[at]; !k.until.After(now) {
			r.next = (at + 1) % len(r.keys)
			return loan{at: at, turn: k.turn, secret: k.secret}, nil
		}
	}
	return loan{}, r.spent(now, err)
}

// last is the error of a call that has tried as many keys as there are. Of a
// single key it is the provider's own.
func (r *ring) last(err error) error {
	if len(r.keys) == 1 {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.spent(r.now(), err)
}

func (r *ring) spent(now time.Time, last error) spent {
	s := spent{refused: true, last: last}
	for i := range r.keys {
		k := &r.keys[i]
		wait := max(0, k.until.Sub(now))
		if i == 0 || wait < s.wait {
			s.wait = wait
		}
		s.refused = s.refused && k.refused
	}
	return s
}

// good ends a key's row of refusals.
func (r *ring) good(l loan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := &r.keys[l.at]
	if k.turn != l.turn || k.times == 0 {
		return
	}
	k.times, k.refused = 0, false
	r.log.Info().Str("provider", r.provider).Int("key", l.at+1).Msg("model key is taken again")
}

// blame sets a key aside if it was the reason of err. It reports whether
// another key may do better.
func (r *ring) blame(l loan, err error) bool {
	refused, ok := errors.AsType[Refusal](err)
	if !ok || r.bare {
		return false
	}
	switch {
	case refused.about == aboutMoney:
		wait := unpaidFor
		if refused.asked > 0 {
			wait = min(refused.asked, unpaidAtMost)
		}
		r.aside(l, wait, unpaid)
	case refused.about != aboutNothing:
		return false
	case refused.status == http.StatusTooManyRequests:
		r.aside(l, min(max(refused.asked, soon), maxWait), busy)
	case refused.status == http.StatusUnauthorized, refused.status == http.StatusForbidden:
		r.aside(l, 0, refusedKey)
	default:
		return false
	}
	return true
}

// reason is why a key is set aside.
type reason int

const (
	busy reason = iota
	unpaid
	refusedKey
)

func (r *ring) aside(l loan, wait time.Duration, why reason) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := &r.keys[l.at]
	if k.turn != l.turn {
		return
	}
	k.turn++
	k.refused = why != busy
	if why == refusedKey {
		wait = min(refusedFor<<min(k.times, 8), refusedAtMost)
	}
	k.until = r.now().Add(wait)
	if k.refused {
		k.times++
	}
	if k.refused && k.times == 1 {
		r.log.Error().Str("provider", r.provider).Int("key", l.at+1).Bool("unpaid", why == unpaid).Dur("aside", wait).Msg("model key is refused")
	}
}

func (r *ring) state() []model.KeyState {
	if r.bare {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	all := make([]model.KeyState, len(r.keys))
	for i, k := range r.keys {
		all[i] = model.KeyState{Ordinal: i + 1}
		if k.until.After(now) {
			all[i].Until, all[i].Refused = k.until, k.refused
		}
	}
	return all
}
