package session_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
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

// shelf is a Store with sessions, over each kind of Redis.
func shelf(t *testing.T, f func(t *testing.T, s *session.Store, rdb redis.UniversalClient)) {
	t.Helper()
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		f(t, session.New(session.Options{Redis: rdb, Sealer: workerstest.Sealer{}, Namer: workerstest.Namer(t)}), rdb)
	})
}

// say adds a round to a session and notes it, as the workers do.
func say(t *testing.T, s *session.Store, rdb redis.UniversalClient, caller, name string, n int, text string) contracts.ID {
	t.Helper()
	i := id(t, name, n)
	must(t, rdb.RPush(t.Context(), contracts.KeySession(i.Conversation), sealTurnAt(t, s, i, text)).Err())
	must(t, rdb.PExpire(t.Context(), contracts.KeySession(i.Conversation), time.Minute).Err())
	about := contracts.About{Caller: caller, SessionID: name, Channel: contracts.ChannelAPI, Began: i.At}
	must(t, s.Note(t.Context(), i.Conversation, about, i.At, n%1000 == 1))
	return i
}

func sealTurnAt(t *testing.T, s *session.Store, i contracts.ID, text string) []byte {
	t.Helper()
	b, err := s.SealTurn(i.Conversation, contracts.Turn{ID: i.String(), User: text, Assistant: "re: " + text, Tokens: 7, At: i.At})
	must(t, err)
	return b
}

func ids(p contracts.SessionPage) (names []string) {
	for _, it := range p.Sessions {
		names = append(names, it.ID)
	}
	return names
}

func TestList(t *testing.T) {
	shelf(t, func(t *testing.T, s *session.Store, rdb redis.UniversalClient) {
		say(t, s, rdb, "api:ann", "old", 1001, "hi")
		say(t, s, rdb, "api:ann", "new", 2001, "hi")
		say(t, s, rdb, "api:bob", "other", 3001, "hi")
		last := say(t, s, rdb, "api:ann", "old", 5000, "again")
		must(t, rdb.Set(t.Context(), contracts.KeySummary(last.Conversation), "x", time.Minute).Err())
		page, err := s.List(t.Context(), "api:ann", "", 10)
		must(t, err)
		if len(page.Sessions) != 2 || page.Next != "" {
			t.Fatalf("%+v", page)
		}
		old := page.Sessions[0]
		if old.ID != "old" || old.Rounds != 2 || !old.HasSummary || !old.Began.Equal(time.UnixMilli(1001)) || !old.LastActivity.Equal(time.UnixMilli(5000)) ||
			old.ExpiresIn < 55 || old.ExpiresIn > 60 || old.Channel != contracts.ChannelAPI || old.Conversation != last.Conversation {
			t.Errorf("%+v", old)
		}
		if got := page.Sessions[1]; got.ID != "new" || got.HasSummary || got.Rounds != 1 {
			t.Errorf("%+v", got)
		}
		if page, err := s.List(t.Context(), "api:nobody", "", 10); err != nil || len(page.Sessions) != 0 || page.Sessions == nil {
			t.Errorf("%+v, %v", page, err)
		}
	})
}

// Pages meet every session once, also those of one moment and beside expired ones.
func TestListPages(t *testing.T) {
	shelf(t, func(t *testing.T, s *session.Store, rdb redis.UniversalClient) {
		want := map[string]bool{}
		for n := range 23 {
			name := fmt.Sprintf("s%02d", n)
			i := say(t, s, rdb, "api:ann", name, 1001+n/8*1000, "hi")
			if n%5 == 0 {
				must(t, rdb.Del(t.Context(), contracts.KeySession(i.Conversation)).Err()) // expired
				continue
			}
			want[name] = true
		}
		for _, limit := range []int{1, 4, 100} {
			seen, after := map[string]int{}, ""
			for {
				page, err := s.List(t.Context(), "api:ann", after, limit)
				must(t, err)
				for _, name := range ids(page) {
					seen[name]++
				}
				if after = page.Next; after == "" {
					break
				}
				if len(page.Sessions) != limit {
					t.Fatalf("a page of %d, want %d", len(page.Sessions), limit)
				}
			}
			for name := range want {
				if seen[name] != 1 {
					t.Errorf("limit %d: %s came %d times", limit, name, seen[name])
				}
			}
			if len(seen) != len(want) {
				t.Errorf("limit %d: %v", limit, seen)
			}
		}
		if n := rdb.ZCard(t.Context(), contracts.KeySessions(contracts.SessionsDigest(workerstest.Namer(t), "api:ann"))).Val(); n != int64(len(want)) {
			t.Errorf("%d entries, want %d: what expired stays in the list", n, len(want))
		}
		for _, bad := range []string{"x", "1.", "-1.00000000000000000000000000", "01.00000000000000000000000000", "1.short", "zzzzzzzzzzzzzzzz.00000000000000000000000000"} {
			if _, err := s.List(t.Context(), "api:ann", bad, 10); !errors.Is(err, session.ErrCursor) {
				t.Errorf("cursor %q: %v", bad, err)
			}
		}
	})
}

func FuzzCursor(f *testing.F) {
	f.Add("1.00000000000000000000000000")
	s := session.New(session.Options{Sealer: workerstest.Sealer{}})
	f.Fuzz(func(t *testing.T, cursor string) {
		if _, err := s.List(t.Context(), "api:ann", cursor, 1); err != nil && !errors.Is(err, session.ErrCursor) {
			t.Errorf("%q: %v", cursor, err)
		}
	})
}

func TestListIsBounded(t *testing.T) {
	rdb := workerstest.MiniRedis(t)
	s := session.New(session.Options{Redis: rdb, Sealer: workerstest.Sealer{}, Namer: workerstest.Namer(t)})
	for n := range 1005 {
		say(t, s, rdb, "api:ann", "s"+strconv.Itoa(n), 1001+n*1000, "hi")
	}
	key := contracts.KeySessions(contracts.SessionsDigest(workerstest.Namer(t), "api:ann"))
	if n := rdb.ZCard(t.Context(), key).Val(); n != 1000 {
		t.Errorf("%d entries", n)
	}
	page, err := s.List(t.Context(), "api:ann", "", 2)
	must(t, err)
	if !slices.Equal(ids(page), []string{"s1004", "s1003"}) {
		t.Errorf("%v", ids(page))
	}
}

// A note that comes late does not bring back what was erased.
func TestLateNote(t *testing.T) {
	shelf(t, func(t *testing.T, s *session.Store, rdb redis.UniversalClient) {
		i := id(t, "c", 1)
		must(t, s.Note(t.Context(), i.Conversation, contracts.About{Caller: "api:ann", SessionID: "c"}, i.At, true))
		if keys := rdb.Keys(t.Context(), "*").Val(); len(keys) != 0 {
			t.Errorf("left %v", keys)
		}
	})
}

// All that a session brings expires, spread by ±10 %.
func TestSessionKeysExpire(t *testing.T) {
	shelf(t, func(t *testing.T, s *session.Store, rdb redis.UniversalClient) {
		seen := map[string]map[int64]bool{}
		for n := range 12 {
			i := say(t, s, rdb, "api:"+strconv.Itoa(n), "c"+strconv.Itoa(n), 1001, "hi")
			must(t, s.Note(t.Context(), i.Conversation, contracts.About{Caller: "api:" + strconv.Itoa(n), SessionID: "c"}, i.At, false))
			_, _, _, err := s.Claim(t.Context(), "d"+strconv.Itoa(n), "body", i.At)
			must(t, err)
			_, err = s.Stop(t.Context(), i.Conversation, 7, 1) // makes a box
			must(t, err)
			must(t, rdb.Del(t.Context(), contracts.KeySession(i.Conversation)).Err())
		}
		want := map[string]time.Duration{"about": 24 * time.Hour, "sessions": 24 * time.Hour, "idem": time.Hour, "box": 24 * time.Hour}
		for _, k := range rdb.Keys(t.Context(), "*").Val() {
			kind, _, _ := strings.Cut(k, ":")
			d, known := want[kind]
			ttl := rdb.PTTL(t.Context(), k).Val()
			if !known || ttl < d-d/10-time.Minute || ttl > d+d/10 {
				t.Errorf("%s lives for %s", k, ttl)
			}
			if seen[kind] == nil {
				seen[kind] = map[int64]bool{}
			}
			seen[kind][int64(ttl/(d/200))] = true
		}
		for kind := range want {
			if len(seen[kind]) < 4 {
				t.Errorf("the %s keys live equally long: %v", kind, seen[kind])
			}
		}
	})
}

func TestRead(t *testing.T) {
	shelf(t, func(t *testing.T, s *session.Store, rdb redis.UniversalClient) {
		var said []contracts.ID
		for n := range 7 {
			said = append(said, say(t, s, rdb, "api:ann", "c", 1001+n, "m"+strconv.Itoa(n)))
		}
		c := said[0].Conversation
		plain := contracts.EncodeSummary(contracts.Summary{Upto: "u", Text: "before", Turns: 9, Model: "m", At: time.UnixMilli(7)})
		sealed, err := (workerstest.Sealer{}).Seal(plain, contracts.KindSummary, c, "u")
		must(t, err)
		must(t, rdb.Set(t.Context(), contracts.KeySummary(c), contracts.EncodeSealed(contracts.Sealed{ID: "u", Data: sealed}), time.Minute).Err())
		var texts []string
		before := ""
		for range 5 {
			d, found, err := s.Read(t.Context(), c, contracts.SessionSpan{Before: before, Limit: 3})
			must(t, err)
			if !found || d.Session.Rounds != 7 || d.Session.ID != "c" || !d.Session.HasSummary || d.Summary == nil || d.Summary.Text != "before" || d.Summary.Rounds != 9 ||
				!d.Session.LastActivity.Equal(time.UnixMilli(1007)) || !d.Session.Began.Equal(time.UnixMilli(1001)) {
				t.Fatalf("found %v, %+v", found, d)
			}
			var page []string
			for _, turn := range d.Turns {
				page = append(page, turn.User)
			}
			texts = append(page, texts...)
			if before = d.Before; before == "" {
				break
			}
		}
		if got := strings.Join(texts, " "); got != "m0 m1 m2 m3 m4 m5 m6" {
			t.Errorf("read %s", got)
		}
		d, _, err := s.Read(t.Context(), c, contracts.SessionSpan{})
		must(t, err)
		if len(d.Turns) != 7 || d.Before != "" || d.Turns[6].Assistant != "re: m6" || d.Turns[6].ID != said[6].String() {
			t.Errorf("%+v", d)
		}
	})
}

// calls counts what is sent to Redis, by kind.
type calls struct {
	mu   sync.Mutex
	seen []string
}

func (c *calls) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *calls) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.mu.Lock()
		c.seen = append(c.seen, cmd.Name())
		c.mu.Unlock()
		return next(ctx, cmd)
	}
}

func (c *calls) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.mu.Lock()
		for _, cmd := range cmds {
			c.seen = append(c.seen, cmd.Name())
		}
		c.mu.Unlock()
		return next(ctx, cmds)
	}
}

func (c *calls) take() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	got := strings.Join(c.seen, " ")
	c.seen = nil
	return got
}

// A made-up id, another caller's session and one's own cost the same: one step.
// To erase what is not there makes nothing.
func TestUnknownSessions(t *testing.T) {
	shelf(t, func(t *testing.T, s *session.Store, rdb redis.UniversalClient) {
		i := say(t, s, rdb, "api:ann", "c", 1001, "hi")
		say(t, s, rdb, "api:ann", "erased", 1001, "hi")
		_, _, err := s.Read(t.Context(), i.Conversation, contracts.SessionSpan{}) // the script is loaded
		must(t, err)
		must(t, s.Erase(t.Context(), "api:ann", id(t, "erased", 1001).Conversation))
		counted := &calls{}
		rdb.AddHook(counted)
		own, found, err := s.Read(t.Context(), i.Conversation, contracts.SessionSpan{})
		must(t, err)
		asked := counted.take()
		if !found || len(own.Turns) != 1 || asked != "evalsha" {
			t.Errorf("found %v with %q", found, asked)
		}
		for _, name := range []string{"made-up", "another"} {
			_, found, err := s.Read(t.Context(), id(t, name, 1).Conversation, contracts.SessionSpan{})
			must(t, err)
			if got := counted.take(); found || got != asked {
				t.Errorf("%s: found %v with %q", name, found, got)
			}
		}
		before := rdb.DBSize(t.Context()).Val()
		counted.take()
		must(t, s.Erase(t.Context(), "api:bob", id(t, "made-up", 1).Conversation))
		if got := counted.take(); got != "evalsha zrem evalsha" {
			t.Errorf("to erase nothing took %q", got)
		}
		if after := rdb.DBSize(t.Context()).Val(); after != before {
			t.Errorf("%d keys became %d", before, after)
		}
	})
}

// What lies under our keys and is none of ours: no list, no reading and no erase
// fails for it.
func TestForeignValues(t *testing.T) {
	shelf(t, func(t *testing.T, s *session.Store, rdb redis.UniversalClient) {
		ctx, namer := t.Context(), workerstest.Namer(t)
		list := contracts.KeySessions(contracts.SessionsDigest(namer, "api:ann"))
		for _, kind := range []string{"string", "list", "hash"} {
			foreign := func(key string) {
				t.Helper()
				must(t, rdb.Del(ctx, key).Err())
				switch kind {
				case "string":
					must(t, rdb.Set(ctx, key, "foreign", time.Minute).Err())
				case "list":
					must(t, rdb.RPush(ctx, key, "foreign").Err())
				case "hash":
					must(t, rdb.HSet(ctx, key, "foreign", "x").Err())
				}
				must(t, rdb.Expire(ctx, key, time.Minute).Err())
			}
			must(t, rdb.FlushAll(ctx).Err())
			foreign(list)
			if page, err := s.List(ctx, "api:ann", "", 10); err != nil || len(page.Sessions) != 0 {
				t.Errorf("%s: %+v, %v", kind, page, err)
			}
			say(t, s, rdb, "api:ann", "good", 1001, "hi")
			i := say(t, s, rdb, "api:ann", "c", 2001, "hi")
			c := i.Conversation
			if page, err := s.List(ctx, "api:ann", "", 10); err != nil || len(page.Sessions) != 2 {
				t.Errorf("%s: %+v, %v", kind, page, err)
			}
			for _, key := range []string{contracts.KeyAbout(c), contracts.KeySession(c), contracts.KeySummary(c), contracts.KeyBox(c)} {
				foreign(key)
				if page, err := s.List(ctx, "api:ann", "", 10); err != nil || !slices.Contains(ids(page), "good") {
					t.Errorf("%s under %s: %+v, %v", kind, key, page, err)
				}
				if _, _, err := s.Read(ctx, c, contracts.SessionSpan{}); err != nil {
					t.Errorf("%s under %s: read: %v", kind, key, err)
				}
				if _, _, err := s.Owner(ctx, c); err != nil {
					t.Errorf("%s under %s: owner: %v", kind, key, err)
				}
			}
			must(t, s.Erase(ctx, "api:ann", c))
			if n := rdb.Exists(ctx, contracts.KeyAbout(c), contracts.KeySession(c), contracts.KeySummary(c)).Val(); n != 0 {
				t.Errorf("%s: %d keys are left", kind, n)
			}
		}
	})
}

// A record that was moved here from another session, cut, or written by a version
// that we do not know, is left out and counted.
func TestReadLeavesOutWhatDoesNotOpen(t *testing.T) {
	shelf(t, func(t *testing.T, s *session.Store, rdb redis.UniversalClient) {
		i := say(t, s, rdb, "api:ann", "c", 1001, "first")
		other := sealTurnAt(t, s, id(t, "other", 3), "stolen")
		good := sealTurnAt(t, s, i, "x")
		for _, b := range [][]byte{other, good[:len(good)-1], append([]byte("9"), good[1:]...), {}, []byte("garbage")} {
			must(t, rdb.RPush(t.Context(), contracts.KeySession(i.Conversation), b).Err())
		}
		must(t, rdb.Set(t.Context(), contracts.KeySummary(i.Conversation), other, time.Minute).Err())
		d, found, err := s.Read(t.Context(), i.Conversation, contracts.SessionSpan{})
		must(t, err)
		if !found || d.Unreadable != 5 || len(d.Turns) != 1 || d.Turns[0].User != "first" || d.Summary != nil {
			t.Errorf("found %v, %+v", found, d)
		}
		must(t, rdb.Rename(t.Context(), contracts.KeyAbout(i.Conversation), contracts.KeyAbout(id(t, "other", 3).Conversation)).Err())
		if a, found, err := s.Owner(t.Context(), id(t, "other", 3).Conversation); err != nil || found {
			t.Errorf("a moved record opens: %+v, %v", a, err)
		}
	})
}

func TestSessionsStoreDown(t *testing.T) {
	rdb := workerstest.MiniRedis(t)
	s := session.New(session.Options{Redis: rdb, Sealer: workerstest.Sealer{}, Namer: workerstest.Namer(t)})
	must(t, rdb.Close())
	_, list := s.List(t.Context(), "api:ann", "", 10)
	_, _, read := s.Read(t.Context(), "c", contracts.SessionSpan{})
	_, _, owner := s.Owner(t.Context(), "c")
	for name, err := range map[string]error{"list": list, "read": read, "owner": owner, "erase": s.Erase(t.Context(), "api:ann", "c")} {
		if e := contracts.Public(err); e == nil || e.Code != contracts.CodeStoreDown || !e.Retryable {
			t.Errorf("%s: %v", name, err)
		}
	}
}
