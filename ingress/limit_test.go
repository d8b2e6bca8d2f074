package ingress

import (
	"fmt"
	"testing"
	"time"

	"moltbot/contracts"
)

// Addresses that were made up cost no lasting memory, and sweeping them is no
// gift to whoever calls just then.
func TestSweep(t *testing.T) {
	now := time.Unix(1e9, 0)
	l := newLimits(contracts.Rate{PerSecond: 0.001, Burst: 1}, func() time.Time { return now })
	for i := range manyBuckets {
		l.take(fmt.Sprint(i))
	}
	now = now.Add(sweepAgain)
	if wait := l.take("caller"); wait != 0 {
		t.Fatalf("wait %s", wait)
	}
	if wait := l.take("caller"); wait == 0 {
		t.Error("the bucket was swept away with the token that it had given")
	}
	if len(l.buckets) != manyBuckets+1 {
		t.Errorf("%d buckets: those in debt must stay", len(l.buckets))
	}
	now = now.Add(sweepAfter)
	l.take("caller")
	if len(l.buckets) > 1 {
		t.Errorf("%d buckets after %s", len(l.buckets), sweepAfter)
	}
}

// Over the limit a sweep looks at every bucket, so not with every request.
func TestSweepIsRare(t *testing.T) {
	now := time.Unix(1e9, 0)
	l := newLimits(contracts.Rate{PerSecond: 0.001, Burst: 1}, func() time.Time { return now })
	for i := range manyBuckets {
		l.take(fmt.Sprint(i))
	}
	now = now.Add(sweepAgain)
	l.take("a")
	swept := l.swept
	now = now.Add(sweepAgain - 1)
	l.take("b")
	if l.swept != swept {
		t.Error("two sweeps within a second")
	}
}
