package scheduler

import (
	"context"
	"sync"
)

// alone lets one task of a conversation work at a time in this process. What the
// next one finds is what the one before has left, so no model writes for nothing.
// Between processes the store decides whose work counts.
type alone struct {
	mu   sync.Mutex
	busy map[string]chan struct{} // closed when the conversation is free
}

// enter waits until the conversation is free, and gives what frees it again.
func (a *alone) enter(ctx context.Context, conversation string) (leave func(), err error) {
	for {
		a.mu.Lock()
		freed, busy := a.busy[conversation]
		if !busy {
			break
		}
		a.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	defer a.mu.Unlock()
	if a.busy == nil {
		a.busy = make(map[string]chan struct{})
	}
	freed := make(chan struct{})
	a.busy[conversation] = freed
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.busy, conversation)
		close(freed)
	}, nil
}
