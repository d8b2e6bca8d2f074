package ingress

import (
	"hash/maphash"
	"sync"
	"unicode/utf8"

	"moltbot/contracts"
)

// maxPending is how much of an answer waits for a client that reads slowly, in bytes.
const maxPending = contracts.MaxDelta

// shown is what one client was shown of an answer, and what came since. Its
// memory is bounded: what does not fit is asked for again later, or is left to
// the end, where the whole answer is there.
type shown struct {
	news   chan struct{} // holds one: there may be something to take
	missed func()        // counts a piece that was left out

	mu      sync.Mutex
	run     int64
	attempt int
	sent    int          // bytes of the run's answer that were taken
	sum     maphash.Hash // of them, unless blind
	blind   bool         // another stream showed the client what was sent so far
	pending []byte
	void    bool // what was shown is of an earlier run, and the client is to be told
	behind  bool // a piece was left out
	heard   bool // a piece came since the last quiet
}

// piece is what a client is to be shown next.
type piece struct {
	// Reset comes first: what was shown before is void.
	Reset   bool
	Run     int64
	Attempt int // which try of the message the run is; 0: not known
	Text    string
	Offset  int // bytes of the run's answer, Text included
}

func newShown(missed func()) *shown { return &shown{news: make(chan struct{}, 1), missed: missed} }

// resume goes on where the client was left by a stream before this one.
func (s *shown) resume(run int64, offset int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.run, s.sent, s.blind = run, offset, offset > 0
}

// put takes a piece from a worker. It never waits. A piece that leaves a gap, or
// finds no room, is left out.
func (s *shown) put(d contracts.Delta) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.Run < s.run {
		return // somebody who does not know yet that the message is run again
	}
	if d.Run > s.run {
		s.restart(d.Run)
	}
	s.attempt, s.heard = d.Attempt, true
	at := s.sent + len(s.pending)
	if d.Offset <= at && at < d.Offset+len(d.Text) && s.blind && !utf8.RuneStart(d.Text[at-d.Offset]) {
		s.restart(d.Run) // nobody was ever left in the middle of a character
		at = 0
	}
	end := d.Offset + len(d.Text)
	switch {
	case end <= at: // nothing new
	case d.Offset > at, end-s.sent > maxPending:
		if !s.behind {
			s.missed()
		}
		s.behind = true
	default:
		s.pending, s.behind = append(s.pending, d.Text[at-d.Offset:]...), false
		s.notify()
	}
}

func (s *shown) restart(run int64) {
	s.void = s.void || s.sent > 0
	s.run, s.sent, s.blind, s.pending, s.behind = run, 0, false, nil, false
	s.sum.Reset()
	if s.void {
		s.notify()
	}
}

func (s *shown) notify() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// take gives what the client is to be shown now; ok is false when that is nothing.
func (s *shown) take() (p piece, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = s.sum.Write(s.pending) // never fails
	s.sent += len(s.pending)
	p = piece{Reset: s.void, Run: s.run, Attempt: s.attempt, Text: string(s.pending), Offset: s.sent}
	s.pending, s.void = nil, false
	return p, p.Reset || p.Text != ""
}

// rest is what the final answer adds to what was taken. An answer that does not
// begin with that is shown from its beginning.
func (s *shown) rest(r *contracts.Result) (p piece, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p = piece{Reset: s.void, Run: r.Run, Text: r.Reply, Offset: len(r.Reply)}
	if s.begins(r) {
		p.Text = r.Reply[s.sent:]
	} else {
		p.Reset = true
	}
	if s.run == r.Run {
		p.Attempt = s.attempt
	}
	return p, p.Reset || p.Text != ""
}

// begins reports whether r begins with what was taken.
func (s *shown) begins(r *contracts.Result) bool {
	switch {
	case s.sent > len(r.Reply):
		return false
	case s.blind:
		return s.run == r.Run && (s.sent == len(r.Reply) || utf8.RuneStart(r.Reply[s.sent]))
	}
	return maphash.String(s.sum.Seed(), r.Reply[:s.sent]) == s.sum.Sum64()
}

// quiet reports whether no piece came since it was last asked, or not all: then
// the pieces are asked for.
func (s *shown) quiet() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	quiet := !s.heard || s.behind
	s.heard = false
	return quiet
}
