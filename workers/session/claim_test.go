package session_test

import (
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/workers/session"
	"moltbot/workers/workerstest"
)

func TestClaim(t *testing.T) {
	each(t, func(t *testing.T, s *session.Store, rdb redis.UniversalClient) {
		accepted := time.UnixMilli(1234)
		for n, c := range []struct {
			body        string
			now         time.Time
			same, fresh bool
		}{
			{"body", accepted.Add(999 * time.Microsecond), true, true},
			{"body", accepted.Add(time.Hour), true, false},
			{"other", accepted.Add(time.Hour), false, false},
			{"", accepted, false, false},
			{"body", accepted.Add(-time.Hour), true, false}, // another process' clock
		} {
			first, same, fresh, err := s.Claim(t.Context(), "digest", c.body, c.now)
			must(t, err)
			if !first.Equal(accepted) || same != c.same || fresh != c.fresh {
				t.Errorf("claim %d: first %s, same %v, fresh %v", n, first, same, fresh)
			}
		}
		if ttl := rdb.PTTL(t.Context(), contracts.KeyIdempotency("digest")).Val(); ttl < 50*time.Second || ttl > 66*time.Second {
			t.Errorf("the record lives for %s", ttl)
		}
	})
}

func TestClaimIsWonOnce(t *testing.T) {
	each(t, func(t *testing.T, s *session.Store, _ redis.UniversalClient) {
		var mu sync.Mutex
		won := 0
		firsts := map[int64]bool{}
		var all sync.WaitGroup
		for n := range 16 {
			all.Go(func() {
				first, _, fresh, err := s.Claim(t.Context(), "digest", strconv.Itoa(n), time.UnixMilli(int64(n)))
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				if fresh {
					won++
				}
				firsts[first.UnixMilli()] = true
			})
		}
		all.Wait()
		if won != 1 || len(firsts) != 1 {
			t.Errorf("%d won, first acceptances %v", won, firsts)
		}
	})
}

// A record runs out, and with it the window of the key.
func TestClaimRunsOut(t *testing.T) {
	rdb := workerstest.MiniRedis(t)
	s := session.New(session.Options{Redis: rdb, Sealer: workerstest.Sealer{}, ResultTTL: 20 * time.Millisecond})
	_, _, fresh, err := s.Claim(t.Context(), "digest", "body", time.UnixMilli(1))
	must(t, err)
	if !fresh {
		t.Fatal("the first claim is not fresh")
	}
	workerstest.Eventually(t, "the key is free again", func() bool {
		_, same, fresh, err := s.Claim(t.Context(), "digest", "other", time.UnixMilli(2))
		return err == nil && same && fresh
	})
}

// Something else lies under our key: an error that says so, not a wrong answer.
func TestForeignRecords(t *testing.T) {
	each(t, func(t *testing.T, s *session.Store, rdb redis.UniversalClient) {
		must(t, rdb.RPush(t.Context(), contracts.KeyIdempotency("list"), "x").Err())
		must(t, rdb.Set(t.Context(), contracts.KeyIdempotency("text"), "garbage", time.Minute).Err())
		for digest, want := range map[string]string{"list": "WRONGTYPE", "text": "cannot be read"} {
			_, _, _, err := s.Claim(t.Context(), digest, "body", time.UnixMilli(1))
			if contracts.Public(err) == nil || contracts.Public(err).Code != contracts.CodeStoreDown || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", digest, err)
			}
			if strings.Contains(contracts.Public(err).Message, want) {
				t.Errorf("%s: the client is told %q", digest, contracts.Public(err).Message)
			}
		}
	})
}

func TestStoreDown(t *testing.T) {
	rdb := workerstest.MiniRedis(t)
	s := session.New(session.Options{Redis: rdb, Sealer: workerstest.Sealer{}})
	must(t, rdb.Close())
	_, _, _, claim := s.Claim(t.Context(), "digest", "body", time.UnixMilli(1))
	_, _, _, result := s.Result(t.Context(), id(t, "c", 1))
	for name, err := range map[string]error{"claim": claim, "result": result, "erase": s.Erase(t.Context(), "api:ann", "c")} {
		if e := contracts.Public(err); e == nil || e.Code != contracts.CodeStoreDown || !e.Retryable || e.RetryAfter == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
