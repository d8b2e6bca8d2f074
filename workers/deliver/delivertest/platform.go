// Package delivertest plays a receiver of answers for tests: it keeps a ledger of
// what users see and does what a script says. It judges nothing.
package delivertest

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"moltbot/contracts"
	"moltbot/workers/deliver"
)

// Call is one call of the sender.
type Call struct {
	ID    string // of the answer
	Part  int
	Key   string
	Text  string
	Chat  string
	Nth   int // of the calls for this part, from 1
	Shown bool
	At    time.Time
}

// Platform is a deliver.Sender. The parts of an answer are separated by "|".
type Platform struct {
	// Repeat is how long it drops a second message of the same key; 0: it has no keys.
	Repeat time.Duration
	// Act is what becomes of a call; nil: all goes well. Who returns shown without an
	// error, or with one, made the user see it.
	Act func(c Call) (shown bool, err error)

	mu    sync.Mutex
	calls []Call
	nth   map[string]int
	keys  map[string]bool
	shown []Call
}

// Parts cuts at each "|".
func (p *Platform) Parts(a *contracts.Answer) []deliver.Part {
	texts := strings.Split(a.Text, "|")
	if a.Text == "" {
		texts = []string{a.Result.Reply}
	}
	parts := make([]deliver.Part, len(texts))
	for i, text := range texts {
		parts[i] = deliver.Part{Number: i + 1, Of: len(texts), Key: a.ID + strconv.Itoa(i+1), Text: text}
	}
	return parts
}

// Send does what the script says.
func (p *Platform) Send(_ context.Context, a *contracts.Answer, part deliver.Part) (string, error) {
	c := Call{ID: a.ID, Part: part.Number, Key: part.Key, Text: part.Text, At: time.Now()}
	if a.Origin != nil {
		c.Chat = a.Origin.Chat
	}
	p.mu.Lock()
	if p.nth == nil {
		p.nth, p.keys = make(map[string]int), make(map[string]bool)
	}
	p.nth[c.Key]++
	c.Nth = p.nth[c.Key]
	p.mu.Unlock()
	c.Shown = true
	var err error
	if p.Act != nil {
		c.Shown, err = p.Act(c)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, c)
	if c.Shown && (p.Repeat == 0 || !p.keys[c.Key]) {
		p.keys[c.Key] = true
		p.shown = append(p.shown, c)
	}
	return "om_" + strconv.Itoa(len(p.calls)), err
}

// Repeatable is so within Repeat.
func (p *Platform) Repeatable(_ *contracts.Answer, since time.Duration) bool { return since < p.Repeat }

// Shown is what users see, in order.
func (p *Platform) Shown() []Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Call(nil), p.shown...)
}

// Texts are those of Shown.
func (p *Platform) Texts() []string {
	var texts []string
	for _, c := range p.Shown() {
		texts = append(texts, c.Text)
	}
	return texts
}

// Calls are all calls, in the order in which they ended.
func (p *Platform) Calls() []Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Call(nil), p.calls...)
}

// Fail is a failure for a script.
func Fail(v deliver.Verdict, wait time.Duration) error {
	return &deliver.Failure{Verdict: v, Wait: wait, Detail: "code_" + string(v), Err: errors.New("the script says so")}
}
