package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestBurst sends messages of one conversation 1 ms apart and measures how much
// later each is answered than its predecessor's answer and its own run explain.
// BusyDelay is a minute, so an answer that waited for a nak would stand out.
func TestBurst(t *testing.T) {
	t.Parallel() // it waits more than it works
	const run = 20 * time.Millisecond
	l := newLedger(t, run)
	y := build(t, shape{workers: 3, model: l.model, settings: "queue: {busy_delay: 1m, lease: 1m, ack_wait: 2m, beat: 20s}\n"})
	c := y.client()
	var mu sync.Mutex
	var extra []time.Duration
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	const together = 4 // conversations at a time: the machine is to be busy, not full
	err := each(together, func(lane int) error {
		for burst := range size(6, 100) {
			waits, err := oneBurst(ctx, c, fmt.Sprintf("burst-%d-%d", lane, burst), run)
			if err != nil {
				return err
			}
			mu.Lock()
			extra = append(extra, waits...)
			mu.Unlock()
		}
		return nil
	})
	if err != nil {
		y.dump()
		t.Fatal(err)
	}
	slices.Sort(extra)
	at := func(q float64) time.Duration {
		return extra[int(q*float64(len(extra)-1))].Round(100 * time.Microsecond)
	}
	t.Logf("extra wait of %d messages behind a predecessor: P50 %s, P99 %s, worst %s", len(extra), at(0.5), at(0.99), at(1))
	if at(1) > 20*time.Second {
		t.Errorf("a message waited %s: it waited for a nak", at(1))
	}
}

const burstSize = 5

func oneBurst(ctx context.Context, c *client, session string, run time.Duration) ([]time.Duration, error) {
	var sent, done [burstSize]time.Time
	errs := make(chan error, burstSize)
	for i := range burstSize {
		sent[i] = time.Now()
		go func() {
			r, err := c.chat(ctx, session, fmt.Sprintf("%s #%d", session, i), "", 50)
			done[i] = time.Now()
			if err == nil && r.status != http.StatusOK {
				err = fmt.Errorf("message %d: %d %s", i, r.status, r.problem.Detail)
			}
			errs <- err
		}()
		wait(ctx, time.Millisecond)
	}
	for range burstSize {
		if err := <-errs; err != nil {
			return nil, err
		}
	}
	slices.SortFunc(done[:], time.Time.Compare) // HTTP may swap two messages a millisecond apart
	var extra []time.Duration
	for i := 1; i < burstSize; i++ {
		from := done[i-1]
		if sent[i].After(from) {
			from = sent[i]
		}
		extra = append(extra, done[i].Sub(from)-run)
	}
	return extra, nil
}
