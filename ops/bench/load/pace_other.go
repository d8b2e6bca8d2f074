//go:build !linux

package load

import (
	"context"
	"time"
)

// pace sleeps until t. It reports false when ctx ends first.
func pace(ctx context.Context, t time.Time) bool {
	if time.Until(t) <= 0 {
		return ctx.Err() == nil
	}
	return until(ctx, t)
}
