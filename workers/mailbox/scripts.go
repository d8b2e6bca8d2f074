package mailbox

import "github.com/redis/go-redis/v9"

// Scripts gives the name of each Lua script by the hash under which Redis is
// asked to run it, for metrics.
func Scripts() map[string]string {
	out := make(map[string]string)
	for name, source := range map[string]string{
		"begin": beginSource(), "claim": claimSource(), "commit": commitLua, "release": releaseLua, "hold": holdLua,
		"renew": renewLua, "clear": clearLua, "mark": markLua, "mend": mendLua,
	} {
		out[redis.NewScript(source).Hash()] = name
	}
	return out
}
