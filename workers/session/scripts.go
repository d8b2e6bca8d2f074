package session

import "github.com/redis/go-redis/v9"

// Scripts gives the name of each Lua script by the hash under which Redis is
// asked to run it, for metrics.
func Scripts() map[string]string {
	return map[string]string{
		redis.NewScript(claimLua).Hash():   "claim_key",
		redis.NewScript(abandonLua).Hash(): "abandon", redis.NewScript(aboutLua).Hash(): "session_about",
		redis.NewScript(indexLua).Hash(): "session_index", redis.NewScript(unlistLua).Hash(): "session_unlist",
		redis.NewScript(readLua).Hash(): "session_read", redis.NewScript(trailLua).Hash(): "session_trail",
		redis.NewScript(eraseLua).Hash(): "session_erase",
		redis.NewScript(stopLua).Hash():  "stop", redis.NewScript(unfoldedLua).Hash(): "unfolded", redis.NewScript(foldLua).Hash(): "fold",
		redis.NewScript(resealValueLua).Hash(): "reseal_value", redis.NewScript(resealListLua).Hash(): "reseal_list",
		redis.NewScript(resealFieldLua).Hash(): "reseal_field", redis.NewScript(resealKeepLua).Hash(): "reseal_keep",
	}
}
