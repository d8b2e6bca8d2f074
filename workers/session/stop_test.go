package session_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/workers/session"
)

func TestStop(t *testing.T) {
	for name, c := range map[string]struct {
		lease string
		box   map[string]string
		want  string // stop
		free  bool
	}{
		"nobody was here":         {want: "40", free: true},
		"it runs":                 {lease: "w1-1", box: map[string]string{"created": "7", "stop": "0"}, want: "40"},
		"it waits to try again":   {lease: contracts.LeaseHeld, box: map[string]string{"created": "7"}, want: "40", free: true},
		"a later stop":            {box: map[string]string{"created": "7", "stop": "50"}, want: "50", free: true},
		"an earlier stop":         {box: map[string]string{"created": "7", "stop": "9"}, want: "40", free: true},
		"another life":            {lease: contracts.LeaseHeld, box: map[string]string{"created": "8", "stop": "2"}, want: "2"},
		"of a session to forget":  {box: map[string]string{"epoch": "1"}, want: "40", free: true},
		"of another life, forgot": {box: map[string]string{"epoch": "1", "stop": "50"}, want: "40", free: true},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, s *session.Store, rdb redis.UniversalClient) {
				ctx, conv := t.Context(), id(t, "c", 1).Conversation
				k := contracts.ChatKeys(conv)
				if c.lease != "" {
					must(t, rdb.Set(ctx, k.Lease, c.lease, time.Minute).Err())
				}
				if c.box != nil {
					must(t, rdb.HSet(ctx, k.Box, c.box).Err())
				}
				for range 2 { // it may be repeated
					free, err := s.Stop(ctx, conv, 41, 7)
					must(t, err)
					if free != c.free {
						t.Errorf("free %v", free)
					}
				}
				if got := rdb.HGet(ctx, k.Box, "stop").Val(); got != c.want {
					t.Errorf("stop = %s", got)
				}
				lease := c.lease
				if c.free {
					lease = "" // a back-off ended
				}
				if left := rdb.Get(ctx, k.Lease).Val(); left != lease {
					t.Errorf("the lease is %q", left)
				}
				if ttl := rdb.PTTL(ctx, k.Box).Val(); c.want != "2" && (ttl < 54*time.Minute || ttl > 66*time.Minute) {
					t.Errorf("the box lives for %s", ttl)
				}
			})
		})
	}
}

func TestLife(t *testing.T) {
	each(t, func(t *testing.T, s *session.Store, rdb redis.UniversalClient) {
		look := func(want int64) {
			t.Helper()
			if life, err := s.Life(t.Context()); err != nil || life != want {
				t.Errorf("life %d, %v, want %d", life, err, want)
			}
		}
		look(0)
		mark := contracts.KeyMark(contracts.StreamChat)
		must(t, rdb.HSet(t.Context(), mark, "created", "1700000000000000000", "last", "9", "rewound", "2").Err())
		look(1700000000000000002)
		conv := id(t, "c", 1).Conversation
		for _, c := range [][2]int64{{0, 7}, {5, 0}} { // nothing is known: nothing is done
			if free, err := s.Stop(t.Context(), conv, uint64(c[0]), c[1]); free || err != nil {
				t.Errorf("%v, %v", free, err)
			}
		}
		if n := rdb.Exists(t.Context(), contracts.KeyBox(conv)).Val(); n != 0 {
			t.Error("a box was made")
		}
	})
}
