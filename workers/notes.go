package workers

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
)

// each gives a mailbox.Options.Committed that tells each of fs in turn; nil ones
// are left out.
func each(fs ...func(mailbox.Task, mailbox.Outcome, int)) func(mailbox.Task, mailbox.Outcome, int) {
	return func(t mailbox.Task, o mailbox.Outcome, entries int) {
		for _, f := range fs {
			if f != nil {
				f(t, o, entries)
			}
		}
	}
}

// notes writes down which conversations are whose sessions, off the messages' way:
// when one begins, and about once a minute as long as it is used. What finds no
// room, or Redis down, is left out; a later message makes up for it.
type notes struct {
	write  func(ctx context.Context, conversation string, a contracts.About, at time.Time, fresh bool) error
	sealer contracts.Sealer
	log    zerolog.Logger
	now    func() time.Time
	lost   prometheus.Counter
	queue  chan sighting

	mu   sync.Mutex
	last map[string]time.Time // when a conversation is to be noted again
}

// sighting is a message whose conversation is to be noted.
type sighting struct {
	letter contracts.Letter
	fresh  bool
	at     time.Time
}

const (
	noteEvery = time.Minute
	manyNotes = 65_536 // conversations that are remembered as noted
	noteRoom  = 256
	noteWait  = 2 * time.Second // for Redis, and at the end for what is queued
)

func newNotes(o *Options) *notes {
	reg := o.Metrics
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	return &notes{
		write: o.Store.Note, sealer: o.Sealer, log: o.Log, now: time.Now, queue: make(chan sighting, noteRoom), last: make(map[string]time.Time),
		lost: promauto.With(reg).NewCounter(prometheus.CounterOpts{
			Name: "moltbot_workers_session_notes_lost_total", Help: "Notes of whose session a conversation is that were not written; a later message makes up for each.",
		}),
	}
}

// committed takes a message that added a turn. It never blocks.
func (n *notes) committed(t mailbox.Task, _ mailbox.Outcome, entries int) {
	letter, ok := t.Letter.(contracts.Letter)
	now := n.now()
	if !ok || !n.due(t.Conversation, entries == 1, now) {
		return
	}
	select {
	case n.queue <- sighting{letter, entries == 1, now}:
	default:
		n.missed(t.Conversation)
	}
}

// due also counts the conversation as noted from now on.
func (n *notes) due(conversation string, fresh bool, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if again, known := n.last[conversation]; known && !fresh && now.Before(again) {
		return false
	}
	if len(n.last) >= manyNotes {
		clear(n.last) // they are noted once too often
	}
	n.last[conversation] = now.Add(noteEvery + rand.N(noteEvery/10))
	return true
}

func (n *notes) missed(conversation string) {
	n.lost.Inc()
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.last, conversation)
}

// run writes until ctx ends, then what is queued.
func (n *notes) run(ctx context.Context) {
	for {
		select {
		case x := <-n.queue:
			n.put(context.WithoutCancel(ctx), x)
		case <-ctx.Done():
			n.rest()
			return
		}
	}
}

func (n *notes) rest() {
	ctx, cancel := context.WithTimeout(context.Background(), noteWait)
	defer cancel()
	for ctx.Err() == nil {
		select {
		case x := <-n.queue:
			n.put(ctx, x)
		default:
			return
		}
	}
}

func (n *notes) put(ctx context.Context, x sighting) {
	ctx, cancel := context.WithTimeout(ctx, noteWait)
	defer cancel()
	m, err := x.letter.Open(n.sealer)
	if err != nil {
		return // it was answered a moment ago; only keys that are gone explain it
	}
	a := contracts.About{Caller: m.Caller, SessionID: m.SessionID, Channel: m.Channel, Began: x.at.UTC()}
	if err := n.write(ctx, m.Conversation, a, x.at, x.fresh); err != nil {
		n.missed(m.Conversation)
		n.log.Debug().Err(err).Str("conversation", m.Conversation).Msg("session not noted, a later message does")
	}
}
