package dead

import (
	"cmp"
	"context"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
)

// Limits of a list.
const (
	window     = 512 // sequences looked at in one go, at least
	mostCounts = 64  // different counts; strangers' codes beyond are counted as one
	otherCode  = "other"
)

// List gives the letters that f takes, the newest first, from before its Until on
// if that is given. It holds at most one page of what it shows of them, however
// many there are.
func (l *Letters) List(ctx context.Context, f contracts.DeadFilter) (contracts.AdminDead, error) {
	s, err := l.stream(ctx)
	if err != nil {
		return contracts.AdminDead{}, err
	}
	state := s.CachedInfo().State
	p := &page{
		filter: f, counts: map[contracts.DeadCount]int{}, counting: f.Until == 0, left: l.o.Most,
		AdminDead: contracts.AdminDead{Letters: []contracts.DeadLetter{}, Counts: []contracts.DeadCount{}, Total: state.Msgs},
	}
	hi := state.LastSeq
	if f.Until > 0 {
		hi = min(hi, f.Until-1)
	}
	lowest := max(state.FirstSeq, f.After+1)
	for width := uint64(window); state.Msgs > 0 && hi >= lowest && !p.full(); {
		lo := lowest
		if hi-lowest >= width {
			lo = hi - width + 1
		}
		seen := p.left
		if err := l.look(ctx, p, lo, hi); err != nil {
			return contracts.AdminDead{}, err
		}
		if width = window; seen == p.left {
			width = 2 * (hi - lo + 1) // a gap; replayed and dropped letters leave them
		}
		if p.past || lo == lowest {
			hi = 0
			break
		}
		hi = lo - 1
	}
	return p.end(hi), nil
}

// page is a list on its way.
type page struct {
	contracts.AdminDead
	filter   contracts.DeadFilter
	counts   map[contracts.DeadCount]int // Count is 0 in the keys
	counting bool
	left     int  // letters that may be looked at
	past     bool // what is older is not wanted
}

// full reports whether looking on is of no use. One more than the limit is found,
// to know whether there is another page.
func (p *page) full() bool {
	return p.left <= 0 || !p.counting && len(p.Letters) > p.filter.Limit
}

// look adds what lies between two sequences to the page.
func (l *Letters) look(ctx context.Context, p *page, lo, hi uint64) error {
	want := p.filter.Limit + 1 - len(p.Letters)
	var found []contracts.DeadLetter // the oldest first; only the newest are kept
	err := l.each(ctx, subjectOf(p.filter.Role), lo, hi, func(raw *jetstream.RawStreamMsg) bool {
		p.left--
		if raw.Time.Before(p.filter.Since) {
			p.past = true
			return true
		}
		one := read(raw)
		if !one.matches(p.filter, raw.Time) {
			return true
		}
		p.count(one)
		if want > 0 {
			if found = append(found, one.DeadLetter); len(found) >= 2*want {
				found = slices.Delete(found, 0, len(found)-want)
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	for i := len(found) - 1; i >= max(0, len(found)-want); i-- {
		p.Letters = append(p.Letters, found[i])
	}
	return nil
}

func (p *page) count(l *letter) {
	if !p.counting {
		return
	}
	key := contracts.DeadCount{Role: l.Role, Code: l.Code}
	if _, known := p.counts[key]; !known && len(p.counts) >= mostCounts {
		key = contracts.DeadCount{Role: otherCode, Code: otherCode}
	}
	p.counts[key]++
}

// end closes the page; hi is the newest sequence that was not looked at, 0: none.
func (p *page) end(hi uint64) contracts.AdminDead {
	switch {
	case len(p.Letters) > p.filter.Limit:
		p.Letters = p.Letters[:p.filter.Limit]
		p.Next = p.Letters[p.filter.Limit-1].Sequence
	case p.left <= 0 && hi > 0:
		p.Next = hi + 1
	}
	p.Partial = p.counting && p.left <= 0 && hi > 0
	for key, n := range p.counts {
		key.Count = n
		p.Counts = append(p.Counts, key)
	}
	slices.SortFunc(p.Counts, func(a, b contracts.DeadCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Role, b.Role), cmp.Compare(a.Code, b.Code))
	})
	return p.AdminDead
}
