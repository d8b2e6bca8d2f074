package workers

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"moltbot/workers/mailbox"
)

// Chores takes what is to be done in the background. A nil error means that it is
// stored, or was before.
type Chores interface {
	// Summarize asks that turns up to the one called upto become a summary.
	Summarize(ctx context.Context, conversation, upto string) error
}

const (
	chorePatience = 2 * time.Second // for one call
	choreRoom     = 1024            // that wait
	choreHands    = 2
	choreMemory   = 8192 // conversations of which we know that we asked
)

// summaries asks for summaries of what fell out of prompts. It is never in a
// message's way: what finds no room is dropped, and the next turn asks again.
type summaries struct {
	chores  Chores
	after   int // turns that fell out before it is asked
	log     zerolog.Logger
	metrics *metrics
	waiting chan chore

	mu     sync.Mutex
	closed bool
	asked  map[string]int // how long the context was then, by conversation
}

type chore struct {
	conversation, upto string
	entries            int
}

func newSummaries(o *Options, m *metrics) *summaries {
	if o.Chores == nil {
		return nil
	}
	return &summaries{
		chores: o.Chores, after: o.SummarizeAfter, log: o.Log, metrics: m, waiting: make(chan chore, choreRoom), asked: make(map[string]int),
	}
}

// committed is the mailbox' word that a conversation grew to so many turns.
func (s *summaries) committed(t mailbox.Task, o mailbox.Outcome, entries int) {
	if s == nil {
		return
	}
	h, ok := o.Memory.(*history)
	if !ok || h.fallen.upto == "" || entries-h.fallen.kept < s.after {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.known(t.Conversation, entries) {
		return
	}
	select {
	case s.waiting <- chore{t.Conversation, h.fallen.upto, entries}:
		s.asked[t.Conversation] = entries
	default:
		s.metrics.summaryAsked(summaryDropped)
	}
}

// known tells whether it was asked a few turns ago, and nothing came of it yet. A
// context that is shorter since was folded or reset.
func (s *summaries) known(conversation string, entries int) bool {
	before, ok := s.asked[conversation]
	if !ok && len(s.asked) >= choreMemory {
		clear(s.asked) // to ask twice does no harm
	}
	return ok && entries > before && entries < before+s.after
}

// start begins to ask. What it gives stops that: what waits is asked first, as
// far as that is a matter of moments.
func (s *summaries) start() (stop func()) {
	if s == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var hands sync.WaitGroup
	for range choreHands {
		hands.Go(func() {
			for c := range s.waiting {
				s.ask(ctx, c)
			}
		})
	}
	return func() {
		s.mu.Lock()
		s.closed = true
		close(s.waiting)
		s.mu.Unlock()
		limit := time.AfterFunc(chorePatience, cancel)
		hands.Wait()
		limit.Stop()
		cancel()
	}
}

func (s *summaries) ask(ctx context.Context, c chore) {
	ctx, cancel := context.WithTimeout(ctx, chorePatience)
	defer cancel()
	if err := s.chores.Summarize(ctx, c.conversation, c.upto); err != nil {
		s.metrics.summaryAsked(summaryFailed)
		s.log.Warn().Err(err).Str("conversation", c.conversation).Msg("no summary asked for; the next turn asks again")
		s.mu.Lock()
		delete(s.asked, c.conversation)
		s.mu.Unlock()
		return
	}
	s.metrics.summaryAsked(summaryAsked)
}
