package limit

import "sync/atomic"

// Stats counts since the start. Requests without a limit are not counted.
type Stats struct {
	Allowed  uint64 // requests
	Refused  uint64 // requests, the next one included
	Shielded uint64 // refused without asking Redis
	Fallback uint64 // decided by this process alone because Redis was away
	Calls    uint64 // round trips begun
	Failures uint64 // of them: failed or too slow
}

type counters struct {
	allowed, refused, shielded, fallback, calls, failures atomic.Uint64
}

func (c *counters) count(d Decision) {
	if d.Allowed {
		c.allowed.Add(1)
	} else {
		c.refused.Add(1)
	}
}

func (c *counters) read() Stats {
	return Stats{
		Allowed: c.allowed.Load(), Refused: c.refused.Load(), Shielded: c.shielded.Load(),
		Fallback: c.fallback.Load(), Calls: c.calls.Load(), Failures: c.failures.Load(),
	}
}
