package owner

import (
	_ "embed"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed claim.lua
	claimLua string
	//go:embed release.lua
	releaseLua string
)

// Scripts gives the name of each Lua script by the hash under which Redis is
// asked to run it, for metrics.
func Scripts() map[string]string {
	return map[string]string{
		redis.NewScript(claimLua).Hash():   "owner_claim",
		redis.NewScript(releaseLua).Hash(): "owner_release",
	}
}
