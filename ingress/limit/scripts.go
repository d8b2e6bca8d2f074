package limit

import "github.com/redis/go-redis/v9"

// Scripts gives the name of the Lua script by the hash under which Redis is
// asked to run it, for metrics.
func Scripts() map[string]string {
	return map[string]string{redis.NewScript(takeLua).Hash(): "take"}
}
