package session

import (
	"context"
	_ "embed"
	"strings"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
)

//go:embed lua/trail.lua
var trailLua string

//go:embed lua/undelivered.lua
var undeliveredLua string

//go:embed lua/erase.lua
var eraseLua string

// Erase removes what is kept of a caller's conversation: turns, summary, results,
// the cached answers made from it, the record of whose it is and its place in the
// list. A message that runs meanwhile is still answered, but leaves no turn behind.
// What order and once-only need stays (see lua/erase.lua). It may be repeated: what
// it needs to go on is removed last.
func (s *Store) Erase(ctx context.Context, caller, conversation string) error {
	keys := []string{
		contracts.KeySession(conversation), contracts.KeySummary(conversation), contracts.KeyAbout(conversation), contracts.KeyBox(conversation),
	}
	named, err := s.scripts.trail.Run(ctx, s.o.Redis, keys, s.o.KeepTurns, s.o.KeepBytes, jitter(s.o.BoxTTL)).StringSlice()
	if err != nil {
		return storeError("begin to erase session", err)
	}
	_, err = s.o.Redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, n := range named {
			s.unlink(ctx, p, conversation, n)
		}
		if s.o.Namer != nil {
			p.ZRem(ctx, contracts.KeySessions(contracts.SessionsDigest(s.o.Namer, caller)), conversation)
		}
		return nil
	})
	if err != nil && !wrongType(err) { // a list of a foreign type lists nothing
		return storeError("erase what was made of a session", err)
	}
	return storeError("erase session", s.scripts.erase.Run(ctx, s.o.Redis, keys).Err())
}

// unlink removes what one entry of the trail names: a message's result, what
// became of its delivery, and the answer that the cache keeps of it. An entry of the ring leaves out the
// conversation that ids begin with.
func (s *Store) unlink(ctx context.Context, p redis.Pipeliner, conversation, named string) {
	id, cached, made := strings.Cut(named, " ")
	if strings.HasPrefix(id, ".") {
		id = conversation + id
	}
	p.Unlink(ctx, contracts.KeyResult(conversation, id))
	first, _, _ := strings.Cut(id, "#") // a replayed answer goes by the record of the first
	p.Eval(ctx, undeliveredLua, []string{contracts.KeyDelivery(conversation, first)})
	if made {
		p.Unlink(ctx, contracts.KeyCache(cached))
	}
}

func wrongType(err error) bool { return err != nil && strings.Contains(err.Error(), "WRONGTYPE") }
