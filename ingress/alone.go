package ingress

import (
	"sync"
	"time"
)

// loners remembers which conversations were full a moment ago. Their messages
// are published by themselves, because one refusal refuses a whole batch.
type loners struct {
	now func() time.Time

	mu    sync.Mutex
	until map[string]time.Time
}

const (
	everyone   = "" // the stream itself was full
	aMoment    = 2 * time.Second
	manyLoners = 10_000
)

func (l *loners) add(conversation string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.until) >= manyLoners {
		clear(l.until) // they are found out again, at the price of a failed batch each
	}
	l.until[conversation] = l.now().Add(aMoment)
}

func (l *loners) has(conversation string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.until) == 0 {
		return false
	}
	return l.full(everyone) || l.full(conversation)
}

func (l *loners) full(conversation string) bool {
	until, ok := l.until[conversation]
	if ok && !l.now().Before(until) {
		delete(l.until, conversation)
		return false
	}
	return ok
}
