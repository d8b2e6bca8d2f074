package platform

import (
	"sync"
	"time"
)

// tokens are an application's access tokens: asking again gives the same one as
// long as it lives.
type tokens struct {
	mu     sync.Mutex
	prefix string
	now    string
	until  time.Time
	valid  map[string]time.Time
	issued int
}

const tokenLife = 2 * time.Hour

// get gives the token. With less than again left there is a new one, and both hold.
func (t *tokens) get(again time.Duration) (token string, left time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Until(t.until) < again {
		if t.valid == nil {
			t.valid = map[string]time.Time{}
		}
		t.now, t.until = name(t.prefix, 16), time.Now().Add(tokenLife)
		t.valid[t.now] = t.until
		t.issued++
	}
	return t.now, time.Until(t.until)
}

func (t *tokens) holds(token string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Now().Before(t.valid[token])
}

// ExpireTokens ends the life of every token, as a rotated secret does.
func (t *tokens) ExpireTokens() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.until, t.valid = time.Time{}, nil
}

// Issued counts the tokens that were made.
func (t *tokens) Issued() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.issued
}

// Token is the one that is given now.
func (t *tokens) Token() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now
}
