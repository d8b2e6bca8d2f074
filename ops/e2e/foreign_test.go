package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestForeignKeys puts a value of another type under every key that Redis holds,
// those of the background tasks too: callers get their answers, and what is kept
// beside them is kept again.
func TestForeignKeys(t *testing.T) {
	t.Parallel() // it waits more than it works
	l := newLedger(t, 0)
	y := build(t, shape{workers: 2, model: l.model, settings: "session: {rounds: 2, tokens: 100000, summary: {after: 1}}\n" +
		"scheduler: {retry_base: 200ms, retry_max: 1s}\n"})
	keeper := y.scheduler("scheduler0")
	c, ctx := y.client(), timeLimit(t)
	sent := 0
	say := func() {
		t.Helper()
		sent++
		for _, key := range []string{fmt.Sprint("key", sent), ""} {
			r, err := c.chat(ctx, fmt.Sprint("s", key == ""), fmt.Sprint("message ", sent), key, 30)
			expect(t, r, err, http.StatusOK, "")
		}
	}
	for range 6 {
		say()
	}
	families := map[string]int{}
	eventually(t, 30*time.Second, "keys of every kind", func() bool {
		clear(families)
		for _, key := range y.rdb.Keys(ctx, "*").Val() {
			name, _, _ := strings.Cut(key, ":")
			families[name]++
		}
		for _, name := range []string{"session", "summary", "about", "sessions", "asynq", "box", "result", "done", "idem", "usage", "usage-names", "janitor"} {
			if families[name] == 0 {
				return false
			}
		}
		return true
	})
	t.Logf("keys: %v", families)
	keys := y.rdb.Keys(ctx, "*").Val()
	for _, key := range keys {
		if strings.HasPrefix(key, "done:") {
			continue // whatever is there says that the message is finished
		}
		kind := y.rdb.Type(ctx, key).Val()
		p := y.rdb.TxPipeline()
		p.Del(ctx, key)
		if kind == "set" {
			p.Set(ctx, key, "foreign", time.Hour)
		} else {
			p.SAdd(ctx, key, "foreign")
		}
		if _, err := p.Exec(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for range 6 {
		say()
	}
	if r, err := c.do(ctx, http.MethodGet, "/api/sessions", "", nil); err != nil || r.status != http.StatusOK {
		t.Errorf("the list of sessions: %d %v", r.status, err)
	}
	left := map[string]bool{}
	eventually(t, 10*time.Second, "what messages use is well again", func() bool {
		clear(left)
		for _, key := range keys {
			name, _, _ := strings.Cut(key, ":")
			if name != "asynq" && y.rdb.Type(ctx, key).Val() == "set" && y.rdb.SIsMember(ctx, key, "foreign").Val() {
				left[name] = true
			}
		}
		return !left["session"] && !left["box"] && !left["sessions"] && !left["janitor"]
	})
	t.Logf("still foreign: %v", slices.Sorted(maps.Keys(left)))
	for _, p := range append(y.workers, y.ingress, keeper) {
		for _, line := range []string{"panic", `"level":"fatal"`} {
			if p.lines(line) > 0 {
				t.Errorf("%s logs %s", p.name, line)
			}
		}
		t.Logf("%s: %d warnings", p.name, p.lines(`"level":"warn"`)+p.lines(`"level":"error"`))
	}
	// An operator takes away what is none of ours, and the tasks go on.
	for _, key := range y.rdb.Keys(ctx, "asynq:*").Val() {
		if err := y.rdb.Del(ctx, key).Err(); err != nil {
			t.Fatal(err)
		}
	}
	folded := keeper.lines("turns summarized")
	for range 4 {
		say()
	}
	eventually(t, 30*time.Second, "summaries are made again", func() bool {
		return len(y.rdb.Keys(ctx, "asynq:{chores}:t:sum:*").Val()) > 0 && keeper.lines("turns summarized") > folded
	})
	if t.Failed() {
		y.dump()
	}
}
