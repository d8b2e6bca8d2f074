package mailbox_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

// Every key has a time to live, spread by ±10 %, and belongs to its
// conversation's slot.
func TestKeysExpire(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		w := s.worker(sending)
		const conversations = 12
		for c := range conversations {
			for n := 1; n <= 2; n++ {
				s.publish(s.conversation(strconv.Itoa(c)), n)
			}
		}
		_, err := s.js.Publish(t.Context(), contracts.SubjectChat(s.conversation("0")), []byte("garbage"))
		must(t, err)
		s.finish()
		w.stop()
		j := s.janitor("a", 100)
		must(t, j.Look(t.Context()))
		want := map[string]time.Duration{ // the defaults of the mailbox
			"box": 24 * time.Hour, "done": 24 * time.Hour, "result": time.Hour, "session": 30 * time.Minute, "janitor": 200 * time.Millisecond, "mark": 48 * time.Hour,
		}
		seen := map[string]map[time.Duration]bool{}
		keys, err := rdb.Keys(t.Context(), "*").Result()
		must(t, err)
		for _, k := range keys {
			kind, rest, _ := strings.Cut(k, ":")
			if strings.HasSuffix(k, "-mark") {
				kind = "mark"
			}
			ttl := rdb.PTTL(t.Context(), k).Val()
			d, known := want[kind]
			if !known || ttl <= 0 || ttl > d+d/10 || kind != "janitor" && ttl < d-d/10-time.Minute {
				t.Errorf("%s lives for %s", k, ttl)
			}
			if kind != "janitor" && kind != "mark" && !strings.HasPrefix(rest, "{") {
				t.Errorf("%s has no hash tag", k)
			}
			if seen[kind] == nil {
				seen[kind] = map[time.Duration]bool{}
			}
			seen[kind][ttl.Round(d/200)] = true
		}
		for _, kind := range []string{"box", "done", "result", "session"} {
			if len(seen[kind]) < 4 {
				t.Errorf("the %s keys live equally long: %v", kind, seen[kind])
			}
		}
	})
}

// The keys of what is under way expire as well: lease, outbox, a held
// conversation, a busy word.
func TestKeysUnderWayExpire(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{MaxSend: 1})
		c, other := s.conversation("c"), s.conversation("other")
		check := func() {
			for _, k := range rdb.Keys(t.Context(), "*").Val() {
				if ttl := rdb.PTTL(t.Context(), k).Val(); ttl <= 0 {
					t.Errorf("%s lives for %s", k, ttl)
				}
			}
		}
		m := s.box(sending, func(o *mailbox.Options) {
			o.RetryBase, o.RetryMax, o.Crash = time.Minute, time.Minute, func(string) { check() }
		})
		for i, name := range []string{other, c, c} {
			s.publish(name, i)
			_, err := m.Handle(t.Context(), t.Context(), s.next())
			must(t, err)
			check()
		}
		if n := rdb.Exists(t.Context(), contracts.KeyOut(c), contracts.KeyLease(c)).Val(); n != 2 {
			t.Errorf("%d of the keys that this test is about are there", n)
		}
	})
}
