package cache

import (
	"context"
	"fmt"
	"sync"

	"moltbot/contracts"
	"moltbot/workers/model"
)

// flights are the calls that are under way in this process, by key. Whoever asks
// first leads: it makes the call on its own goroutine, because one more for each
// call would be one more stack for each message that waits. The call's context
// is not the leader's: it ends when nobody wants the answer any more, and also
// when the leader leaves before any of it was shown: then one of the others makes
// a new call. Only a leader whose answer others read along comes back late.
type flights struct {
	mu   sync.Mutex
	open map[string]*flight
}

// flight is one call with all who wait for it.
type flight struct {
	key    string
	ctx    context.Context
	cancel context.CancelFunc
	wanted int // by how many; under the lock of flights

	mu      sync.Mutex
	text    []byte        // what came so far, while the leader reads along
	left    bool          // the leader left before there was any: those who wait begin anew
	changed chan struct{} // closed when there is more; nil: nobody waits for that

	landed chan struct{} // closed when answer and err hold
	answer model.Answer
	err    error
}

// join enters the flight of key. The first opens it, and has to land it.
func (s *flights) join(ctx context.Context, key string) (f *flight, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f = s.open[key]; f != nil {
		f.wanted++
		return f, false
	}
	f = &flight{key: key, wanted: 1, landed: make(chan struct{})}
	f.ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.open[key] = f
	return f, true
}

// leave is for who gives up, and after the landing changes nothing. Nobody may enter a flight that nobody wants: it is
// being cancelled.
func (s *flights) leave(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.wanted--; f.wanted == 0 {
		f.cancel()
		s.close(f)
	}
}

// desert is leave for the leader.
func (s *flights) desert(f *flight) {
	s.leave(f)
	f.mu.Lock()
	f.left = len(f.text) == 0
	left := f.left
	f.mu.Unlock()
	if !left {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f.cancel()
	s.close(f)
}

func (s *flights) close(f *flight) {
	if s.open[f.key] == f {
		delete(s.open, f.key)
	}
}

// land gives all who wait what came of the call. Only the first one counts.
func (s *flights) land(f *flight, a model.Answer, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-f.landed:
		return
	default:
	}
	s.close(f)
	f.answer, f.err = a, err
	close(f.landed)
}

// say passes a piece of the answer on to who reads along.
func (f *flight) say(piece string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left {
		return // who waits begins anew
	}
	f.text = append(f.text, piece...)
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// more gives what came after the first seen bytes, or what to wait for.
func (f *flight) more(seen int) (piece string, changed <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.text) > seen {
		return string(f.text[seen:]), nil
	}
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	return "", f.changed
}

// lead makes the call of f, or finds that another process has made it.
func (w *cached) lead(ctx context.Context, f *flight, r *model.Request) (model.Answer, error) {
	all := &w.cache.flights
	defer f.cancel()
	defer all.land(f, model.Answer{}, lost()) // if the call panics
	stop := context.AfterFunc(ctx, func() { all.desert(f) })
	defer stop()
	a, err := w.obtain(ctx, f, r)
	if ctx.Err() != nil {
		return model.Answer{}, fmt.Errorf("ask the model: %w", ctx.Err())
	}
	return a, err
}

// lost is the error of those whose leader panicked.
func lost() error {
	return &contracts.Error{Code: contracts.CodeInternal, Message: "something went wrong on our side", Retryable: true}
}

// deserted says that the leader left and took the call along.
func (f *flight) deserted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.left && f.err != nil
}

// follow waits for a flight that another request leads, and reads along. again says
// that it has to be asked anew.
func (w *cached) follow(ctx context.Context, f *flight, r *model.Request) (a model.Answer, again bool, err error) {
	defer w.cache.flights.leave(f) // also when the reader panics
	seen, reading := 0, r.OnDelta != nil
	var changed <-chan struct{}
	for waiting := true; waiting; {
		if reading {
			piece := ""
			if piece, changed = f.more(seen); piece != "" {
				seen += len(piece)
				r.OnDelta(piece)
				continue
			}
		}
		select {
		case <-changed:
		case <-f.landed:
			waiting = false
		case <-ctx.Done():
			return a, false, fmt.Errorf("wait for an identical request: %w", ctx.Err())
		}
	}
	if f.err != nil {
		return a, ctx.Err() == nil && f.deserted(), f.err
	}
	if reading {
		w.rest(f, r, seen)
	}
	return w.spared(r, f.answer, fromFlight), false, nil
}

// rest is what came between the last look and the landing, or all of it, where
// the leader had nobody who reads along.
func (w *cached) rest(f *flight, r *model.Request, seen int) {
	piece, _ := f.more(seen)
	if seen == 0 && piece == "" {
		piece = f.answer.Text
	}
	if piece != "" {
		r.OnDelta(piece)
	}
}

// obtain finds the answer in Redis, or makes it with the lease and keeps it.
// Without Redis it makes it all the same. ctx is the leader's own.
func (w *cached) obtain(ctx context.Context, f *flight, r *model.Request) (model.Answer, error) {
	c := w.cache
	if a, ok := c.memory.find(f.key); ok { // the flight before landed in this moment
		c.flights.land(f, a, nil)
		return w.spared(r, a, fromMemory), nil
	}
	a, life, lease, err := c.remote.find(f.ctx, f.key)
	if err != nil {
		c.flights.land(f, model.Answer{}, err)
		return model.Answer{}, err
	}
	if life > 0 {
		a.Key = f.key
		c.memory.keep(f.key, a, life)
		c.flights.land(f, a, nil)
		return w.spared(r, a, fromRedis), nil
	}
	defer lease.end(nil, 0) // in any case
	c.metrics.requests[fromModel].Inc()
	a, err = w.inner.Complete(f.ctx, w.leading(ctx, f, r))
	if err == nil && w.worth(r, &a) && answerSize(&a) <= c.o.MaxValue {
		a.Key, life = f.key, jitter(c.o.TTL)
		c.memory.keep(f.key, a, life)
		c.flights.land(f, a, nil) // nobody here waits for Redis
		lease.end(&a, life)
		return a, nil
	}
	c.flights.land(f, a, err)
	return a, err
}

// leading is the request whose pieces go to all who read along. Without a
// reader of its own it asks for none: a chain may try again only as long as
// nobody has seen a piece.
func (w *cached) leading(ctx context.Context, f *flight, r *model.Request) model.Request {
	own := *r
	if r.OnDelta != nil {
		own.OnDelta = func(piece string) {
			f.say(piece)
			if ctx.Err() == nil {
				r.OnDelta(piece)
			}
		}
	}
	return own
}
