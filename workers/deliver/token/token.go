// Package token keeps the access token of one application of a platform and has a
// new one fetched once, however many calls want it. It writes no token down.
package token

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// Token is a token as the platform gave it.
type Token struct {
	Value string
	Lives time.Duration
	n     uint64 // which one it is: the platform may give the same value again
}

// Options of a Source. Fetch and Early are required.
type Options struct {
	// Fetch asks the platform. Its errors must not hold the token.
	Fetch func(context.Context) (Token, error)
	// Early is how long before its end a token is no longer used.
	Early   time.Duration
	Timeout time.Duration    // of one Fetch; default 15s
	Now     func() time.Time // default time.Now
}

// Source gives the token that is in force.
type Source struct {
	o      Options
	flight singleflight.Group

	mu    sync.Mutex
	token Token
	until time.Time
	last  uint64
}

// New makes a Source that has nothing yet.
func New(o Options) *Source {
	if o.Timeout <= 0 {
		o.Timeout = 15 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Source{o: o}
}

// Get gives the token, after fetching one if there is none. Whoever comes while it
// is fetched waits for the same; one that leaves does not end it for the others.
func (s *Source) Get(ctx context.Context) (Token, error) {
	if t, ok := s.kept(); ok {
		return t, nil
	}
	done := s.flight.DoChan("", func() (any, error) { return s.fetch(context.WithoutCancel(ctx)) })
	select {
	case <-ctx.Done():
		return Token{}, fmt.Errorf("wait for an access token: %w", ctx.Err())
	case got := <-done:
		if got.Err != nil {
			return Token{}, got.Err
		}
		return got.Val.(Token), nil
	}
}

func (s *Source) kept() (Token, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token, s.token.Value != "" && s.o.Now().Before(s.until)
}

func (s *Source) fetch(ctx context.Context) (Token, error) {
	// A flight that ended between kept and DoChan has brought one.
	if t, ok := s.kept(); ok {
		return t, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	asked := s.o.Now()
	t, err := s.o.Fetch(ctx)
	if err != nil {
		return Token{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	t.n = s.last
	s.token, s.until = t, asked.Add(t.Lives-s.o.Early)
	return t, nil
}

// Drop forgets a token that the platform refused, unless a newer one took its
// place: of many calls that were refused together, only the first has an effect.
func (s *Source) Drop(refused Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token.n == refused.n {
		s.token = Token{}
	}
}
