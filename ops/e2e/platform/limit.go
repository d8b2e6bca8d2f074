package platform

import (
	"sync"
	"time"
)

// limits counts the calls of the last second by what the platform limits.
type limits struct {
	mu      sync.Mutex
	calls   map[string][]time.Time
	refused int
}

// take reports whether one more call of key is allowed, and when the next one is.
func (l *limits) take(key string, perSecond int) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	recent := l.calls[key]
	for len(recent) > 0 && now.Sub(recent[0]) >= time.Second {
		recent = recent[1:]
	}
	if l.calls == nil {
		l.calls = map[string][]time.Time{}
	}
	if len(recent) >= perSecond {
		l.calls[key] = recent
		l.refused++
		return time.Second - now.Sub(recent[0]), false
	}
	l.calls[key] = append(recent, now)
	return 0, true
}

// Limited counts the calls that were refused because there were too many.
func (l *limits) Limited() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused
}
