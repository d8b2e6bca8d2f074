package workers

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/workers/model"
	"moltbot/workers/model/cache"
	"moltbot/workers/session"
	"moltbot/workers/workerstest"
)

// remembering is a plant over rdb whose workers keep lists of sessions.
func remembering(t *testing.T, rdb redis.UniversalClient) *plant {
	t.Helper()
	p := &plant{t: t, nats: workerstest.StartNATS(t), rdb: rdb, namer: workerstest.Namer(t)}
	p.nc = p.nats.Connect(t)
	var err error
	p.js, err = jetstream.New(p.nc)
	must(t, err)
	workerstest.MakeStreams(t, p.js, workerstest.Queue{})
	p.store = session.New(session.Options{Redis: rdb, Sealer: workerstest.Sealer{}, Namer: p.namer})
	return p
}

// with is every key of Redis that has canary in its name or value.
func with(t *testing.T, rdb redis.UniversalClient, canary string) (keys []string) {
	t.Helper()
	all, err := rdb.Keys(t.Context(), "*").Result()
	must(t, err)
	for _, k := range all {
		var values []string
		switch rdb.Type(t.Context(), k).Val() {
		case "string":
			values = []string{rdb.Get(t.Context(), k).Val()}
		case "list":
			values = rdb.LRange(t.Context(), k, 0, -1).Val()
		case "hash":
			for f, v := range rdb.HGetAll(t.Context(), k).Val() {
				values = append(values, f, v)
			}
		case "zset":
			values = rdb.ZRange(t.Context(), k, 0, -1).Val()
		case "set":
			values = rdb.SMembers(t.Context(), k).Val()
		default:
			t.Errorf("%s is of a type that this test does not search", k)
		}
		if strings.Contains(strings.Join(append(values, k), "\x00"), canary) {
			keys = append(keys, k)
		}
	}
	return keys
}

// An erase leaves nothing in Redis of what was said, nor of who said it: turns,
// summary, results (also of answers that made no turn), cached answers, list. A
// message that runs meanwhile is answered and leaves no turn behind. The sealer
// hides nothing, so the whole of Redis can be searched.
func TestEraseLeavesNothing(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		p := remembering(t, rdb)
		entered, open := make(chan struct{}, 1), make(chan struct{})
		upstream := completer(func(ctx context.Context, r model.Request) (model.Answer, error) {
			text := r.Messages[len(r.Messages)-1].Text
			switch {
			case strings.Contains(text, "calls"):
				return model.Answer{ToolCalls: []contracts.ToolCall{{ID: "1", Name: "f", Arguments: `{"x":"CANARY"}`}}, Model: "m", Version: "test/m", Finish: "tool_calls"}, nil
			case strings.Contains(text, "slow"):
				entered <- struct{}{}
				<-open
			}
			return said("re: " + text), nil
		})
		c, err := cache.New(cache.Options{Redis: rdb, Sealer: workerstest.Sealer{}, Namer: p.namer, Log: zerolog.Nop()})
		must(t, err)
		t.Cleanup(func() { must(t, c.Close()) })
		p.start(p.options(c.Wrap(upstream, "m", contracts.ModelEntry{Provider: "test", Model: "m"})))
		inbox, got := p.inbox("one")
		const name, other = "CANARY-session", "neighbour"
		ask := func(session string, n int, text string) contracts.Result {
			m := p.message(session, n, text, inbox)
			p.publish(m)
			for {
				if r := p.result(workerstest.Await(t, "a reply", got)); r.ID == m.ID {
					return r
				}
			}
		}
		conversation := p.message(name, 0, "", "").Conversation
		ask(name, 1, "my name is CANARY")
		ask(name, 2, "CANARY again")
		ask(name, 3, "calls") // makes no turn
		ask(other, 4, "NEIGHBOUR")
		sealed, err := (workerstest.Sealer{}).Seal([]byte("CANARY"), contracts.KindSummary, conversation, "x")
		must(t, err)
		must(t, rdb.Set(t.Context(), contracts.KeySummary(conversation), sealed, time.Minute).Err())
		must(t, rdb.HSet(t.Context(), contracts.KeyBox(conversation), "note", "CANARY").Err())
		workerstest.Eventually(t, "both sessions are listed", func() bool {
			page, err := p.store.List(t.Context(), "test", "", 10)
			return err == nil && len(page.Sessions) == 2
		})
		kinds := map[string]bool{}
		for _, k := range with(t, rdb, "CANARY") {
			kind, _, _ := strings.Cut(k, ":")
			kinds[kind] = true
		}
		for _, kind := range []string{"session", "summary", "about", "result", "cache", "box"} {
			if !kinds[kind] {
				t.Errorf("the canary is in no %s: the test proves nothing for it (%v)", kind, kinds)
			}
		}
		neighbour := len(with(t, rdb, "NEIGHBOUR"))

		slow := p.message(name, 5, "slow", inbox)
		p.publish(slow)
		workerstest.Await(t, "the slow one runs", entered)
		before := rdb.HMGet(t.Context(), contracts.KeyBox(conversation), "fence", "holder", "last").Val()
		must(t, p.store.Erase(t.Context(), "test", conversation))
		if left := with(t, rdb, "CANARY"); len(left) != 0 {
			t.Errorf("after the erase it is in %v", left)
		}
		if page, err := p.store.List(t.Context(), "test", "", 10); err != nil || len(page.Sessions) != 1 || page.Sessions[0].ID != other {
			t.Errorf("list %+v, %v", page, err)
		}
		if after := rdb.HMGet(t.Context(), contracts.KeyBox(conversation), "fence", "holder", "last").Val(); len(after) != 3 || after[0] != before[0] || after[1] != before[1] || after[2] != before[2] {
			t.Errorf("what order needs was %v and is %v", before, after)
		}
		if n := len(with(t, rdb, "NEIGHBOUR")); n != neighbour {
			t.Errorf("the neighbour had %d keys and has %d", neighbour, n)
		}
		close(open)
		if r := p.result(workerstest.Await(t, "the slow answer", got)); r.ID != slow.ID || !strings.HasPrefix(r.Reply, "re: ") {
			t.Errorf("the message that ran meanwhile: %+v", r)
		}
		if n := rdb.Exists(t.Context(), contracts.KeySession(conversation), contracts.KeyAbout(conversation)).Val(); n != 0 {
			t.Error("the message that ran meanwhile left a turn behind")
		}
		ask(name, 6, "who am I?")
		d, found, err := p.store.Read(t.Context(), conversation, contracts.SessionSpan{})
		must(t, err)
		if !found || len(d.Turns) != 1 || d.Turns[0].User != "who am I?" {
			t.Errorf("the session goes on with %+v", d)
		}
		// All again, with nothing that runs: only what was said since is there.
		must(t, p.store.Erase(t.Context(), "test", conversation))
		must(t, p.store.Erase(t.Context(), "test", conversation))
		if left := with(t, rdb, "who am I"); len(left) != 0 {
			t.Errorf("after the second erase it is in %v", left)
		}
	})
}

// What lies in Redis is none of ours, of another session, cut or of another
// version: the answer comes, from what can be read.
func TestAnswersInSpiteOfWhatRedisHolds(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		p := remembering(t, rdb)
		p.start(p.options(completer(func(_ context.Context, r model.Request) (model.Answer, error) {
			var texts []string
			for _, m := range r.Messages {
				texts = append(texts, m.Text)
			}
			return said(strings.Join(texts, "|")), nil
		})))
		inbox, got := p.inbox("one")
		n := 0
		ask := func(session, text string) string {
			n++
			m := p.message(session, n, text, inbox)
			p.publish(m)
			for {
				if r := p.result(workerstest.Await(t, "a reply", got)); r.ID == m.ID {
					return r.Reply
				}
			}
		}
		ask("victim", "SECRET")
		key := func(session string) string { return contracts.KeySession(p.message(session, 0, "", "").Conversation) }
		stolen := rdb.LRange(t.Context(), key("victim"), 0, -1).Val()[0]
		for name, spoil := range map[string]func(session string){
			"moved from another session": func(s string) { must(t, rdb.RPush(t.Context(), key(s), stolen).Err()) },
			"cut": func(s string) {
				own := rdb.LRange(t.Context(), key(s), 0, -1).Val()[0]
				must(t, rdb.RPush(t.Context(), key(s), own[:len(own)/2]).Err())
			},
			"another version": func(s string) {
				own := rdb.LRange(t.Context(), key(s), 0, -1).Val()[0]
				must(t, rdb.RPush(t.Context(), key(s), "9"+own[1:]).Err())
			},
		} {
			session := strings.ReplaceAll(name, " ", "-")
			ask(session, "hello")
			spoil(session)
			// Another process' note of the version is what makes the worker read again.
			must(t, rdb.HDel(t.Context(), contracts.KeyBox(p.message(session, 0, "", "").Conversation), "version").Err())
			if reply := ask(session, "and now"); reply != "hello|hello|and now" {
				t.Errorf("%s: the prompt was %q", name, reply)
			}
		}
		for _, name := range []string{"session", "summary", "about", "box", "lease", "out", "result"} {
			conversation := p.message("wrong-"+name, 0, "", "").Conversation
			must(t, rdb.SAdd(t.Context(), name+":{"+conversation+"}", "foreign").Err())
			if reply := ask("wrong-"+name, "hello"); reply != "hello" {
				t.Errorf("wrong type under %s: %q", name, reply)
			}
			if reply := ask("wrong-"+name, "more"); reply != "hello|hello|more" {
				t.Errorf("wrong type under %s: the prompt was %q", name, reply)
			}
		}
	})
}
