package load

import (
	"context"
	"syscall"
	"time"
)

// Longest sleep between two looks at the context.
const longestNap = 50 * time.Millisecond

// pace sleeps until t, to some 60 microseconds; the runtime's timers may be a
// millisecond late on an idle machine. It reports false when ctx ends first.
func pace(ctx context.Context, t time.Time) bool {
	for left := time.Until(t); left > 0; left = time.Until(t) {
		if ctx.Err() != nil {
			return false
		}
		nap := syscall.NsecToTimespec(int64(min(left, longestNap)))
		_ = syscall.Nanosleep(&nap, nil) // interrupted: the loop sleeps the rest
	}
	return ctx.Err() == nil
}
