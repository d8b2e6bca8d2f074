package model

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"moltbot/workers/workerstest"
)

// Who came first gets the next permit, whoever left the queue in between.
func TestCapServesInOrder(t *testing.T) {
	o := CapOptions{Redis: workerstest.MiniRedis(t), Log: zerolog.Nop(), Model: "m", Node: "n", Limit: 1, Renew: 50 * time.Millisecond}
	workerstest.Must(t, o.fill())
	k := newKeeper(o)
	t.Cleanup(k.close)
	workerstest.Must(t, k.acquire(t.Context()))
	const n = 9
	served := make(chan int, n)
	impatient, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	for i := range n {
		ctx := t.Context()
		if i == 4 {
			ctx = impatient
		}
		go func() {
			if err := k.acquire(ctx); err != nil {
				left <- err
				return
			}
			served <- i
			k.release()
		}()
		workerstest.Eventually(t, "it waits", func() bool {
			k.mu.Lock()
			defer k.mu.Unlock()
			return len(k.waiting) == i+1
		})
	}
	leave()
	workerstest.Await(t, "one leaves", left)
	k.release()
	var order []int
	for range n - 1 {
		order = append(order, workerstest.Await(t, "served", served))
	}
	if want := []int{0, 1, 2, 3, 5, 6, 7, 8}; !slices.Equal(order, want) {
		t.Errorf("served in the order %v", order)
	}
}
