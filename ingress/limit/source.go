package limit

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed lua/take.lua
var takeLua string

// source is the shared bucket, and the knowledge of whether Redis answers.
type source struct {
	o      *Options
	stats  *counters
	script *redis.Script

	mu    sync.Mutex
	down  bool
	until time.Time // while down: not asked before
	trial bool      // while down: one request is asking
}

// answer is what the script said.
type answer struct {
	taken       int
	full, again time.Duration
}

var (
	errSlow   = errors.New("no answer in time")
	errAnswer = errors.New("an answer that cannot be read")
)

// ask starts a call for n requests of c, whose lock is held. The call belongs to
// nobody's context: others wait for it too.
func (s *source) ask(c *caller, n int) *flight {
	f := &flight{landed: make(chan struct{})}
	s.stats.calls.Add(1)
	block := c.block
	// A client without time-outs of its own may come back late or never; who
	// waits does not wait for that.
	late := time.AfterFunc(s.o.Timeout, func() { c.crash(f, s, errSlow) })
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), s.o.Timeout)
		defer cancel()
		a, err := s.call(ctx, c, n, block)
		late.Stop()
		if err != nil {
			c.crash(f, s, err)
			return
		}
		c.land(f, s, a)
	}()
	return f
}

// call is one round trip: EVALSHA, and once per server EVAL.
func (s *source) call(ctx context.Context, c *caller, n, block int) (answer, error) {
	interval := strconv.FormatFloat(1e6/c.rate.PerSecond, 'f', -1, 64)
	v, err := s.script.Run(ctx, s.o.Redis, []string{c.key}, interval, c.rate.Burst, n, block).Int64Slice()
	if err != nil {
		return answer{}, fmt.Errorf("take from the shared bucket: %w", err)
	}
	if len(v) != 3 || v[0] < 0 || v[0] > int64(n) || v[1] < 0 || v[2] < 0 || v[0]+v[2] == 0 {
		return answer{}, errAnswer
	}
	return answer{
		taken: int(v[0]), full: time.Duration(v[1]) * time.Microsecond, again: time.Duration(v[2]) * time.Microsecond,
	}, nil
}

// open reports whether Redis may be asked. While it is down one request at a
// time tries, after each pause; the others do not wait.
func (s *source) open(now time.Time) bool {
	if s.o.Redis == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.down {
		return true
	}
	if s.trial || now.Before(s.until) {
		return false
	}
	s.trial = true
	return true
}

// failed and worked say once per change how things stand.
func (s *source) failed(err error) {
	s.stats.failures.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.down {
		s.o.Log.Warn().Err(err).Msg("rate limits are not shared: Redis does not answer, each process counts alone")
	}
	s.down, s.trial, s.until = true, false, s.o.Now().Add(s.o.Pause)
}

func (s *source) worked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		s.o.Log.Info().Msg("rate limits are shared again")
	}
	s.down, s.trial = false, false
}

func (s *source) fallback() {
	if s.o.Redis != nil {
		s.stats.fallback.Add(1)
	}
}
