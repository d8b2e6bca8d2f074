package platform

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// Ledger is the outside judge: what users wrote, and what they were shown.
type Ledger struct {
	// OnShow is called with every message that users see; nil: nobody is.
	OnShow func(Shown)

	mu    sync.Mutex
	wrote []*Incoming
	shown []Shown
	saw   chan struct{} // closed and made anew by every message that is shown
}

// Shown is a message that users saw.
type Shown struct {
	Platform, Chat string
	To             string // the message it was shown as a reply to; empty: to none
	Text           string
	Key            string // Feishu: uuid
	ID             string // the platform's
	At             time.Time
}

func (l *Ledger) write(in *Incoming) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrote = append(l.wrote, in)
}

func (l *Ledger) acked(in *Incoming) {
	l.mu.Lock()
	defer l.mu.Unlock()
	in.acked = true
}

func (l *Ledger) show(s Shown) {
	s.At = time.Now()
	if l.OnShow != nil {
		defer l.OnShow(s)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shown = append(l.shown, s)
	if l.saw != nil {
		close(l.saw)
		l.saw = nil
	}
}

// Seen closes when the next message is shown.
func (l *Ledger) Seen() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.saw == nil {
		l.saw = make(chan struct{})
	}
	return l.saw
}

// Shown is what one chat shows, in order. All chats: an empty name.
func (l *Ledger) Shown(platform, chat string) (all []Shown) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.shown {
		if s.Platform == platform && (chat == "" || s.Chat == chat) {
			all = append(all, s)
		}
	}
	return all
}

// Missing is an acknowledged message without an answer.
type Missing struct {
	Chat   string
	Number int
	ID     string // the platform's
}

// Verdict is what became of a platform's messages.
type Verdict struct {
	Acked, Answered int
	Lost            []Missing
	Doubled         []string // answers beyond the first
	Swapped         []string // answers behind a later one of their chat
	Odd             []string // texts that answer nothing that was written
}

// Number says which message of its chat a text is, or answers.
type Number func(text string) (n int, ok bool)

// Check compares what was written with what was shown.
func (l *Ledger) Check(platform string, wrote, answers Number) (v Verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	type key struct {
		chat string
		n    int
	}
	times, last, known := map[key]int{}, map[string]int{}, map[key]bool{}
	for _, w := range l.wrote {
		if n, ok := wrote(w.Text); ok && w.Platform == platform {
			known[key{w.Chat, n}] = true
		}
	}
	for _, s := range l.shown {
		if s.Platform != platform {
			continue
		}
		n, ok := answers(s.Text)
		k := key{s.Chat, n}
		if !ok || !known[k] {
			v.Odd = append(v.Odd, s.Chat+": "+s.Text)
			continue
		}
		if times[k]++; times[k] > 1 {
			v.Doubled = append(v.Doubled, fmt.Sprintf("%s #%d (to %s) at %s", s.Chat, n, s.To, s.At.Format(time.StampMilli)))
			continue
		}
		if n < last[s.Chat] {
			v.Swapped = append(v.Swapped, fmt.Sprintf("%s #%d behind #%d", s.Chat, n, last[s.Chat]))
		}
		last[s.Chat] = max(n, last[s.Chat])
	}
	for _, w := range l.wrote {
		n, ok := wrote(w.Text)
		if !ok || !w.acked || w.Platform != platform {
			continue
		}
		v.Acked++
		if k := (key{w.Chat, n}); times[k] > 0 {
			v.Answered++
		} else {
			v.Lost = append(v.Lost, Missing{w.Chat, n, w.ID})
		}
	}
	slices.Sort(v.Doubled)
	return v
}
