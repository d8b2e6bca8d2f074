package session_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/workers/session"
)

// Only where nobody runs a message, and nobody did, it is finished by Abandon.
func TestAbandon(t *testing.T) {
	for name, c := range map[string]struct {
		lease, tries string // of the message; empty: none
		done         bool
		busy, stops  bool
	}{
		"nobody has it":          {stops: true},
		"nobody has it any more": {tries: "1:w1-1", stops: true},
		"it runs":                {lease: "w1-1", tries: "2:w1-1", busy: true},
		"it waits behind":        {lease: "w1-1", stops: true},
		"it waits, ran before":   {lease: "w1-2", tries: "1:w1-1", stops: true},
		"it waits to try again":  {lease: contracts.LeaseHeld, tries: "1:w1-1", stops: true},
		"it is done":             {done: true},
		"done, others run":       {lease: "w1-1", done: true},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, s *session.Store, rdb redis.UniversalClient) {
				ctx, i := t.Context(), id(t, "c", 1)
				k := contracts.ChatKeys(i.Conversation)
				done, result := contracts.KeyDone(i.Conversation, i.String()), contracts.KeyResult(i.Conversation, i.String())
				if c.lease != "" {
					must(t, rdb.Set(ctx, k.Lease, c.lease, time.Minute).Err())
				}
				if c.tries != "" {
					must(t, rdb.HSet(ctx, k.Box, "t:"+i.String(), c.tries).Err())
				}
				if c.done {
					must(t, rdb.Set(ctx, done, "w1-0", time.Minute).Err())
				}
				busy, err := s.Abandon(ctx, i)
				must(t, err)
				if busy != c.busy {
					t.Errorf("busy %v", busy)
				}
				r, found, finished, err := s.Result(ctx, i)
				must(t, err)
				if found != c.stops || finished != (c.stops || c.done) {
					t.Errorf("found %v, finished %v", found, finished)
				}
				if !c.stops {
					return
				}
				if r.Code != contracts.CodeStopped || r.ID != i.String() || r.Reply != "" {
					t.Errorf("%+v", r)
				}
				if rdb.Get(ctx, done).Val() != "abandoned" || rdb.HExists(ctx, k.Box, "t:"+i.String()).Val() {
					t.Error("the marker is another, or the attempts are left")
				}
				if ttl := rdb.PTTL(ctx, done).Val(); ttl < 21*time.Hour || ttl > 27*time.Hour {
					t.Errorf("the marker lives for %s", ttl)
				}
				if ttl := rdb.PTTL(ctx, result).Val(); ttl < 50*time.Second || ttl > 70*time.Second {
					t.Errorf("the result lives for %s", ttl)
				}
				if busy, err := s.Abandon(ctx, i); busy || err != nil {
					t.Errorf("again: busy %v, %v", busy, err)
				}
			})
		})
	}
}
