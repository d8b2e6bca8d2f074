package deliver

import (
	"context"
	_ "embed"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
)

//go:embed lua/pace.lua
var paceLua string

//go:embed lua/block.lua
var blockLua string

const (
	// A turn within this is waited for in the slot. What waits longer waits outside:
	// one busy chat would have all slots, and every other chat would wait with it.
	// One chat has as many slots as it has turns in that time: two of the default five a second.
	soon    = 250 * time.Millisecond
	behind  = 10 * time.Second // how far those who wait outside are spread, at most
	longest = time.Hour        // that a key is blocked, whatever the platform says
)

// pace keeps the calls of all processes within the limits of a platform: evenly
// spaced, so that no second has more of them than it may.
type pace struct {
	rdb    redis.UniversalClient
	digest func(purpose string, parts ...string) string
	turn   *redis.Script
	stop   *redis.Script
}

func newPace(o *Options) *pace {
	return &pace{rdb: o.Redis, digest: o.Digest, turn: redis.NewScript(paceLua), stop: redis.NewScript(blockLua)}
}

// limit is one limit of a platform.
type limit struct {
	key    string
	second int // calls; 0: any number
}

// limits are those that an answer is under. The chat's comes first: where it says
// no, nothing is taken from what the whole application may.
func (p *pace) limits(channel contracts.Channel, o *contracts.Origin, app, chat int) []limit {
	if o == nil {
		return nil
	}
	all := []limit{{p.appKey(channel, o), app}}
	if o.Chat != "" {
		all = append([]limit{{p.chatKey(channel, o), chat}}, all...)
	}
	return all
}

func (p *pace) appKey(channel contracts.Channel, o *contracts.Origin) string {
	return contracts.KeyPace(p.digest("pace app", string(channel), o.App))
}

func (p *pace) chatKey(channel contracts.Channel, o *contracts.Origin) string {
	return contracts.KeyPace(p.digest("pace chat", string(channel), o.App, o.Chat))
}

// take gives how long to wait for the turn under all limits. Where that is too
// long there is no turn, and late says when to ask again.
func (p *pace) take(ctx context.Context, limits []limit) (wait, late time.Duration, err error) {
	for _, l := range limits {
		interval := int64(1) // no limit of ours, but the platform may have said to wait
		if l.second > 0 {
			interval = time.Second.Microseconds() / int64(l.second)
		}
		v, err := p.turn.Run(ctx, p.rdb, []string{l.key}, interval, soon.Microseconds(), (longest + time.Minute).Microseconds(), behind.Microseconds()).Int64Slice()
		if err == nil && len(v) != 2 {
			err = errAnswer
		}
		if err != nil {
			return 0, 0, storeError("keep the pace", err)
		}
		after := time.Duration(v[1]) * time.Microsecond
		if v[0] == 0 {
			return 0, after, nil
		}
		wait = max(wait, after)
	}
	return wait, 0, nil
}

// block lets nothing of an application, or to a chat, go out for a while.
func (p *pace) block(ctx context.Context, key string, wait time.Duration) error {
	if wait = min(wait, longest); wait <= 0 {
		return nil
	}
	if err := p.stop.Run(ctx, p.rdb, []string{key}, wait.Microseconds()).Err(); err != nil {
		return storeError("block the pace", err)
	}
	return nil
}

// Scripts gives the name of each Lua script by the hash under which Redis is
// asked to run it, for metrics.
func Scripts() map[string]string {
	out := make(map[string]string)
	for name, source := range map[string]string{
		"delivery_open": openLua, "delivery_begin": beginLua, "delivery_finish": finishLua, "pace": paceLua, "pace_block": blockLua,
	} {
		out[redis.NewScript(source).Hash()] = name
	}
	return out
}
