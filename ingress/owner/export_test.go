package owner

import "time"

// Waits are those that bound a take-over.
func (o *Owner) Waits() (ttl, retry, timeout time.Duration) { return o.o.TTL, o.o.Retry, o.o.Timeout }
