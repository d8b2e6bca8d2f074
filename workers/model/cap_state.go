package model

import "github.com/redis/go-redis/v9"

// Scripts gives the name of the Lua script by the hash under which Redis is
// asked to run it, for metrics.
func Scripts() map[string]string {
	return map[string]string{redis.NewScript(capLua).Hash(): "cap"}
}

// CapState is how things stand with this process' share of the cap.
type CapState struct {
	Held     int    // permits, whether or not a call runs on each
	Running  int    // calls that were let through and have not ended
	Waiting  int    // calls that wait for a permit
	Failures uint64 // questions to Redis that got no answer, since the start
}

// State reads it, for metrics.
func (c *Capped) State() CapState {
	k := c.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	// While a question is under way held is lower than what Redis has on record.
	return CapState{Held: k.held, Running: k.running, Waiting: len(k.waiting), Failures: k.failures}
}
