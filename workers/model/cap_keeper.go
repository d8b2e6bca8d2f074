package model

import (
	"context"
	_ "embed"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
)

//go:embed lua/cap.lua
var capLua string

// keeper leases permits from Redis for the calls of one process. One loop asks,
// however many calls wait; it runs while anything is held or waited for.
//
// The invariant: the calls that run are at most what Redis has on record for
// this process, while the lease lasts by our own clock, which is earlier than
// by Redis'.
type keeper struct {
	o      CapOptions
	script *redis.Script
	key    string
	wake   chan struct{} // holds one token: something changed that the loop should ask about

	mu       sync.Mutex
	waiting  []*waiter // first come, first served
	running  int       // calls that were let through and have not ended
	held     int       // permits; calls start while running is below
	limit    int       // of all processes together, from CapOptions or SetLimit
	again    int       // permits that may be used again without asking, while short
	short    bool      // somebody else waits as well
	peak     int       // most calls wanted at a time since the last renewal
	until    time.Time // end of the lease
	failing  bool      // Redis did not answer the last time
	failures uint64    // since the start
	turn     int64     // of the newest question
	looping  bool
	closed   bool
	done     chan struct{} // closed when the loop has ended
}

// waiter is a call that waits. Its channel is closed, under the keeper's lock,
// when it has a permit.
type waiter struct{ ready chan struct{} }

func newKeeper(o CapOptions) *keeper {
	return &keeper{
		o: o, limit: o.Limit, script: redis.NewScript(capLua), key: contracts.KeyCap(o.Model), wake: make(chan struct{}, 1),
	}
}

// acquire returns nil with a permit. The caller releases it.
func (k *keeper) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("wait for a permit: %w", err)
	}
	w, err := k.enter()
	if w == nil {
		return err
	}
	limit := time.NewTimer(k.o.Wait)
	defer limit.Stop()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
		err = fmt.Errorf("wait for a permit: %w", ctx.Err())
	case <-limit.C:
		err = crowded()
	}
	if !k.leave(w) { // it was let through at the same moment
		k.release()
	}
	return err
}

// enter lets a call through, or gives its place in the queue.
func (k *keeper) enter() (*waiter, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil, crowded()
	}
	k.start()
	if len(k.waiting) == 0 && k.free() {
		k.running++
		k.note()
		return nil, nil
	}
	w := &waiter{ready: make(chan struct{})}
	k.waiting = append(k.waiting, w)
	k.note()
	k.nudge()
	return w, nil
}

// free reports whether a call may begin. A lease that has run out is worth nothing.
func (k *keeper) free() bool { return k.running < k.held && time.Now().Before(k.until) }

func (k *keeper) resize(limit int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if limit != k.limit && limit > 0 {
		k.limit = limit
		k.nudge()
	}
}

func (k *keeper) note() { k.peak = max(k.peak, k.running+len(k.waiting)) }

// admit lets calls through in their order.
func (k *keeper) admit() {
	for len(k.waiting) > 0 && k.free() {
		w := k.waiting[0]
		k.waiting[0] = nil
		k.waiting = k.waiting[1:]
		k.running++
		close(w.ready)
	}
}

// leave takes w out of the queue. False: it has a permit already.
func (k *keeper) leave(w *waiter) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, other := range k.waiting {
		if other == w {
			k.waiting = append(k.waiting[:i], k.waiting[i+1:]...)
			return true
		}
	}
	return false
}

func (k *keeper) release() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.running--
	if k.short {
		if k.held > k.again {
			k.held-- // somebody else's turn
		}
		k.nudge()
	}
	k.admit()
}

// start starts the loop unless it runs.
func (k *keeper) start() {
	if !k.looping {
		k.looping, k.done = true, make(chan struct{})
		go k.loop()
	}
}

func (k *keeper) nudge() {
	select {
	case k.wake <- struct{}{}:
	default: // the loop will look anyway
	}
}

// loop asks at once when something changed, but not more often than it should,
// and renews while anything is held.
func (k *keeper) loop() {
	pause := time.NewTimer(0)
	defer pause.Stop()
	gap := time.NewTimer(time.Hour) // between two questions, however much changes
	defer gap.Stop()
	for {
		select {
		case <-pause.C:
		case <-k.wake:
		}
		next, more := k.ask()
		if !more {
			return
		}
		gap.Reset(k.o.Ask / 10)
		<-gap.C
		pause.Reset(next)
	}
}

// ask is one exchange with Redis. It says when to ask again, and whether there
// is anything left to ask for.
func (k *keeper) ask() (next time.Duration, more bool) {
	q := k.question()
	ctx, cancel := context.WithTimeout(context.Background(), k.o.Call)
	defer cancel()
	sent := time.Now()
	answer, err := k.script.Run(ctx, k.o.Redis, []string{k.key},
		k.o.Node, q.running, q.insist, q.want, q.limit, k.o.Lease.Milliseconds(), q.turn).Int64Slice()
	if err == nil && len(answer) != 3 {
		err = fmt.Errorf("%d numbers", len(answer))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.report(err)
	if err == nil {
		k.held, k.again, k.short = int(answer[0]), int(answer[1]), answer[2] == 1
		k.until = sent.Add(k.o.Lease)
	}
	k.admit()
	return k.next()
}

// question is what the process asks for.
type question struct {
	running, insist, want int
	limit                 int
	turn                  int64
}

// question also lowers held to what it insists on: the answer may take the rest
// away, so nothing may be begun with it while the question is under way, nor
// after a question whose answer is lost.
func (k *keeper) question() question {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.turn++
	q := question{running: k.running, insist: k.running, want: k.running + len(k.waiting), limit: k.limit, turn: k.turn}
	if k.closed {
		k.held = k.running
		return q
	}
	if !k.short {
		q.want = max(q.want, k.peak) // what was needed a moment ago may be needed again
	}
	k.peak = k.running + len(k.waiting)
	fits := !k.short || k.held <= k.again
	// Near its end the lease could run out before the question arrives.
	lasting := time.Until(k.until) > 2*k.o.Call
	if lasting && (k.failing || fits && q.want >= k.held) {
		q.insist = max(k.held, k.running)
		q.want = max(q.want, q.insist)
	}
	k.held = q.insist
	return q
}

// next plans the next question.
func (k *keeper) next() (time.Duration, bool) {
	switch {
	case k.running+len(k.waiting) == 0 && (k.closed || k.held == 0 && !k.failing):
		k.looping = false
		close(k.done)
		return 0, false
	case k.failing:
		return k.o.Renew / 4, true
	case len(k.waiting) > 0:
		return k.o.Ask, true
	}
	return k.o.Renew, true
}

// report logs when Redis stops and begins to answer, once each.
func (k *keeper) report(err error) {
	if err != nil {
		k.failures++
	}
	switch {
	case err != nil && !k.failing:
		k.o.Log.Warn().Err(err).Int("held", k.held).Msg("no further model calls are begun than the permits that are held")
	case err == nil && k.failing:
		k.o.Log.Info().Msg("permits for model calls can be had again")
	}
	k.failing = err != nil
}

func (k *keeper) close() {
	k.mu.Lock()
	k.closed = true
	looping, done := k.looping, k.done
	k.mu.Unlock()
	if looping {
		k.nudge()
		<-done
	}
}
