package cache

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/workers/model"
	"moltbot/workers/workerstest"
)

func TestHits(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		u := &upstream{}
		one, two := replica(t, rdb), replica(t, rdb)
		first, err := one.over(u).Complete(t.Context(), asking("a", "hi"))
		must(t, err)
		if first.Cached || first.Cost == 0 {
			t.Errorf("the first answer: %+v", first)
		}
		for name, c := range map[string]*Cache{"memory": one, "redis": two, "memory after redis": two} {
			var read reader
			r := asking("a", "hi")
			r.OnDelta = read.add
			again, err := c.over(u).Complete(t.Context(), r)
			must(t, err)
			want := first
			want.Cached, want.Cost, want.FirstToken = true, 0, 0
			if again.Text != want.Text || again.Usage != want.Usage || again.Version != want.Version || !again.Cached || again.Cost != 0 || again.Tokens != 4 {
				t.Errorf("%s: %+v, want %+v", name, again, want)
			}
			if text, pieces := read.read(); text != "well" || pieces != 1 {
				t.Errorf("%s: read %q in %d pieces", name, text, pieces)
			}
		}
		if n := u.calls.Load(); n != 1 {
			t.Errorf("%d calls", n)
		}
	})
}

// What differs in anything that matters is another question.
func TestKeys(t *testing.T) {
	half, cold, seed := 0.5, 0.0, int64(7)
	base := func() (model.Request, contracts.ModelEntry, string) { return asking("a", "hi"), entryOf(), "name" }
	for name, change := range map[string]func(*model.Request, *contracts.ModelEntry, *string){
		"caller": func(r *model.Request, _ *contracts.ModelEntry, _ *string) { r.Caller = "b" },
		"text":   func(r *model.Request, _ *contracts.ModelEntry, _ *string) { r.Messages[0].Text = "ho" },
		"role":   func(r *model.Request, _ *contracts.ModelEntry, _ *string) { r.Messages[0].Role = model.RoleSystem },
		"writer": func(r *model.Request, _ *contracts.ModelEntry, _ *string) { r.Messages[0].Name = "x" },
		"history": func(r *model.Request, _ *contracts.ModelEntry, _ *string) {
			r.Messages = append(r.Messages, r.Messages[0])
		},
		"image": func(r *model.Request, _ *contracts.ModelEntry, _ *string) {
			r.Messages[0].Parts = []contracts.PromptPart{{Image: "https://x"}}
		},
		"tool call": func(r *model.Request, _ *contracts.ModelEntry, _ *string) {
			r.Messages[0].ToolCalls = []contracts.ToolCall{{ID: "1"}}
		},
		"seed":       func(r *model.Request, _ *contracts.ModelEntry, _ *string) { r.Params.Seed = &seed },
		"top_p":      func(r *model.Request, _ *contracts.ModelEntry, _ *string) { r.Params.TopP = &half },
		"stop":       func(r *model.Request, _ *contracts.ModelEntry, _ *string) { r.Params.Stop = []string{"."} },
		"max_tokens": func(r *model.Request, _ *contracts.ModelEntry, _ *string) { r.Params.MaxTokens = 7 },
		"tools":      func(r *model.Request, _ *contracts.ModelEntry, _ *string) { r.Params.Tools = json.RawMessage(`[{}]`) },
		"format": func(r *model.Request, _ *contracts.ModelEntry, _ *string) {
			r.Params.ResponseFormat = json.RawMessage(`{}`)
		},
		"model":           func(r *model.Request, _ *contracts.ModelEntry, _ *string) { r.Model = "n" },
		"name":            func(_ *model.Request, _ *contracts.ModelEntry, name *string) { *name = "other" },
		"provider":        func(_ *model.Request, e *contracts.ModelEntry, _ *string) { e.Provider = "q" },
		"set max_tokens":  func(_ *model.Request, e *contracts.ModelEntry, _ *string) { e.MaxTokens = 7 },
		"set temperature": func(_ *model.Request, e *contracts.ModelEntry, _ *string) { e.Temperature = &cold },
	} {
		t.Run(name, func(t *testing.T) {
			c := replica(t, workerstest.MiniRedis(t))
			u := &upstream{}
			r, e, n := base()
			_, err := c.Wrap(u, n, e).Complete(t.Context(), r)
			must(t, err)
			r, e, n = base()
			change(&r, &e, &n)
			a, err := c.Wrap(u, n, e).Complete(t.Context(), r)
			must(t, err)
			if a.Cached || u.calls.Load() != 2 {
				t.Errorf("cached %v after %d calls", a.Cached, u.calls.Load())
			}
		})
	}
}

// The client's own choice of what is configured anyway is no other question.
func TestSameKey(t *testing.T) {
	same := warm
	for name, change := range map[string]func(*model.Request){
		"temperature":          func(r *model.Request) { r.Params.Temperature = &same },
		"max_tokens":           func(r *model.Request) { r.Params.MaxTokens = 100 },
		"another conversation": func(r *model.Request) { r.User = "other" },
	} {
		c := replica(t, workerstest.MiniRedis(t))
		u := &upstream{}
		_, err := c.over(u).Complete(t.Context(), asking("a", "hi"))
		must(t, err)
		r := asking("a", "hi")
		change(&r)
		if a, err := c.over(u).Complete(t.Context(), r); err != nil || !a.Cached {
			t.Errorf("%s: cached %v, %v", name, a.Cached, err)
		}
	}
}

func TestNotForEveryRequest(t *testing.T) {
	hot := 1.5
	for name, change := range map[string]func(*model.Request, *contracts.ModelEntry, *Options){
		"fresh":           func(r *model.Request, _ *contracts.ModelEntry, _ *Options) { r.Fresh = true },
		"own temperature": func(r *model.Request, _ *contracts.ModelEntry, _ *Options) { r.Params.Temperature = &hot },
		"temperature of an unknown one": func(r *model.Request, e *contracts.ModelEntry, _ *Options) {
			r.Params.Temperature, e.Temperature = &hot, nil
		},
		"nobody": func(r *model.Request, _ *contracts.ModelEntry, _ *Options) { r.Caller = "" },
		"demo":   func(_ *model.Request, e *contracts.ModelEntry, _ *Options) { e.Provider = "demo" },
	} {
		t.Run(name, func(t *testing.T) {
			r, e, u := asking("a", "hi"), entryOf(), &upstream{}
			c := replica(t, workerstest.MiniRedis(t), func(o *Options) { change(&r, &e, o) })
			for range 2 {
				if a, err := c.Wrap(u, "name", e).Complete(t.Context(), r); err != nil || a.Cached {
					t.Errorf("cached %v, %v", a.Cached, err)
				}
			}
			if u.calls.Load() != 2 {
				t.Errorf("%d calls", u.calls.Load())
			}
		})
	}
	var none *Cache
	u := &upstream{}
	if got := none.Wrap(u, "name", entryOf()); got != model.Completer(u) {
		t.Error("no cache puts something between")
	}
}

func TestDemoIfWanted(t *testing.T) {
	c := replica(t, workerstest.MiniRedis(t), func(o *Options) { o.Demo = true })
	e := contracts.ModelEntry{Provider: "demo", Model: "demo"}
	r := asking("a", "hi")
	r.Model = ""
	for i := range 2 {
		if a, err := c.Wrap(model.Demo{}, "demo", e).Complete(t.Context(), r); err != nil || a.Cached != (i > 0) {
			t.Errorf("%d: cached %v, %v", i, a.Cached, err)
		}
	}
}

func TestSharedAcrossCallers(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		for _, shared := range []bool{false, true} {
			c := replica(t, rdb, func(o *Options) { o.Shared = shared })
			u := &upstream{}
			_, err := c.over(u).Complete(t.Context(), asking("a", "hi"))
			must(t, err)
			a, err := c.over(u).Complete(t.Context(), asking("b", "hi"))
			must(t, err)
			if a.Cached != shared {
				t.Errorf("shared %v: another caller got a cached answer: %v", shared, a.Cached)
			}
		}
	})
}

func TestNotEveryAnswerIsKept(t *testing.T) {
	for name, a := range map[string]model.Answer{
		"cut":                 {Text: "x", Version: "p/m", Finish: "length"},
		"of a fall-back":      {Text: "x", Version: "q/n", Finish: "stop"},
		"an apology":          {Text: "sorry", Finish: "stop"},
		"filtered":            {Text: "x", Version: "p/m", Finish: "content_filter"},
		"nothing":             {Version: "p/m", Finish: "stop"},
		"too large for Redis": {Text: strings.Repeat("x", 300<<10), Version: "p/m", Finish: "stop"},
	} {
		rdb := workerstest.MiniRedis(t)
		c := replica(t, rdb)
		u := &upstream{answer: func(context.Context, model.Request) (model.Answer, error) { return a, nil }}
		for range 2 {
			if got, err := c.over(u).Complete(t.Context(), asking("a", "hi")); err != nil || got.Cached {
				t.Errorf("%s: cached %v, %v", name, got.Cached, err)
			}
		}
		if keys := rdb.Keys(t.Context(), "*").Val(); len(keys) != 0 {
			t.Errorf("%s: left %v", name, keys)
		}
	}
	c := replica(t, workerstest.MiniRedis(t))
	u := &upstream{answer: func(context.Context, model.Request) (model.Answer, error) { return model.Answer{}, errors.New("no") }}
	for range 2 {
		if _, err := c.over(u).Complete(t.Context(), asking("a", "hi")); err == nil {
			t.Error("an error became an answer")
		}
	}
	if u.calls.Load() != 2 {
		t.Errorf("%d calls for a question that failed", u.calls.Load())
	}
}

func TestToolCallsAreKept(t *testing.T) {
	rdb := workerstest.MiniRedis(t)
	calls := []contracts.ToolCall{{ID: "1", Name: "weather", Arguments: "{}"}}
	u := &upstream{answer: func(context.Context, model.Request) (model.Answer, error) {
		return model.Answer{ToolCalls: calls, Model: "m", Version: "p/m", Finish: "tool_calls"}, nil
	}}
	for i := range 2 {
		a, err := replica(t, rdb).over(u).Complete(t.Context(), asking("a", "hi"))
		if err != nil || a.Cached != (i > 0) || len(a.ToolCalls) != 1 || a.ToolCalls[0] != calls[0] {
			t.Errorf("%d: %+v, %v", i, a, err)
		}
	}
}

// Nothing of what was said, and nobody's name, lies in Redis in the clear; a
// record put in another place is worth nothing.
func TestSealedForItsPlace(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		c := replica(t, rdb)
		u := &upstream{}
		for _, text := range []string{"one", "two"} {
			_, err := c.over(u).Complete(t.Context(), asking("api:alice", text))
			must(t, err)
		}
		keys := rdb.Keys(t.Context(), "cache:*").Val()
		if len(keys) != 2 {
			t.Fatalf("%v", keys)
		}
		for _, k := range keys {
			if left := rdb.PTTL(t.Context(), k).Val(); left < 4*time.Minute || left > 5*time.Minute+30*time.Second {
				t.Errorf("%s lives for %s", k, left)
			}
			if strings.Contains(k, "alice") {
				t.Errorf("the key %s names the caller", k)
			}
		}
		must(t, rdb.Rename(t.Context(), keys[0], keys[1]).Err())
		other := replica(t, rdb)
		for _, text := range []string{"one", "two"} {
			if a, err := other.over(u).Complete(t.Context(), asking("api:alice", text)); err != nil || a.Cached {
				t.Errorf("%s: cached %v, %v", text, a.Cached, err)
			}
		}
		if a, err := replica(t, rdb).over(u).Complete(t.Context(), asking("api:alice", "two")); err != nil || !a.Cached {
			t.Errorf("what could not be read was not written over: %v, %v", a.Cached, err)
		}
	})
}

func TestAnswersExpire(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		c := replica(t, rdb, func(o *Options) { o.TTL = 20 * time.Millisecond })
		u := &upstream{}
		workerstest.Eventually(t, "a second call", func() bool {
			_, err := c.over(u).Complete(t.Context(), asking("a", "hi"))
			must(t, err)
			return u.calls.Load() >= 2
		})
	})
}

func TestPurge(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		one, two := replica(t, rdb), replica(t, rdb)
		u := &upstream{}
		calls := int32(0)
		ask := func(what string, more int32) {
			t.Helper()
			for _, c := range []*Cache{one, two} {
				_, err := c.over(u).Complete(t.Context(), asking("a", "hi"))
				must(t, err)
			}
			if calls += more; u.calls.Load() != calls {
				t.Errorf("%s: %d calls, want %d", what, u.calls.Load(), calls)
			}
		}
		ask("at first", 1)
		must(t, Purge(t.Context(), rdb, "another"))
		ask("another model purged", 0)
		must(t, Purge(t.Context(), rdb, "name"))
		ask("purged", 1)
		must(t, Purge(t.Context(), rdb, ""))
		ask("all purged", 1)
		ask("afterwards", 0)
		if left := rdb.PTTL(t.Context(), contracts.KeyPurge()).Val(); left <= 24*time.Hour {
			t.Errorf("the words live for %s, less than answers may", left)
		}
	})
}

// A purge is looked for once in a while, not with each request.
func TestPurgeIsNotAskedForEachTime(t *testing.T) {
	rdb := workerstest.MiniRedis(t)
	now := time.Unix(1000, 0)
	c := replica(t, rdb, func(o *Options) { o.Watch, o.Now = time.Second, func() time.Time { return now } })
	u := &upstream{}
	ask := func() bool {
		a, err := c.over(u).Complete(t.Context(), asking("a", "hi"))
		must(t, err)
		return a.Cached
	}
	ask()
	must(t, Purge(t.Context(), rdb, ""))
	if !ask() {
		t.Error("Redis was asked within a second")
	}
	if now = now.Add(time.Second); ask() {
		t.Error("after a second the purge is not seen")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	c := replica(t, workerstest.MiniRedis(t), func(o *Options) { o.Memory = 10_000 })
	u := &upstream{answer: func(context.Context, model.Request) (model.Answer, error) {
		return said(strings.Repeat("x", 1000)), nil
	}}
	for i := range 50 {
		_, err := c.over(u).Complete(t.Context(), asking("a", strings.Repeat("y", i)))
		must(t, err)
	}
	c.memory.kept.CleanUp()
	if size := c.memory.size(); size > 10_000 || size == 0 {
		t.Errorf("%g bytes", size)
	}
}

func TestOptions(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("options without a Redis")
	}
	if _, err := New(Options{Redis: workerstest.MiniRedis(t), Sealer: workerstest.Sealer{}, Namer: workerstest.Namer(t), TTL: -1}); err == nil {
		t.Error("a negative life")
	}
}
