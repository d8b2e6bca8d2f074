package mailbox

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
)

// foreign puts a value of another type under key.
func foreign(t *testing.T, rdb redis.UniversalClient, key string, kind string) {
	t.Helper()
	must(t, rdb.Del(t.Context(), key).Err())
	if kind == "string" {
		must(t, rdb.Set(t.Context(), key, "foreign", time.Minute).Err())
		return
	}
	must(t, rdb.SAdd(t.Context(), key, "foreign").Err())
}

// A value of another type under one of our keys, at any moment: the conversation
// goes on with what is left, and the answer is committed once.
func TestForeignValuesUnderOurKeys(t *testing.T) {
	k := contracts.ChatKeys(conv)
	for name, key := range map[string]string{
		"lease": k.Lease, "box": k.Box, "session": k.Context, "out": k.Out, "summary": k.Summary,
		"done": contracts.KeyDone(conv, "m2"), "result": contracts.KeyResult(conv, "m2"),
	} {
		for _, kind := range []string{"set", "string"} {
			if kind == "string" && name != "box" && name != "session" && name != "out" {
				continue // is what it should be
			}
			t.Run(name+" "+kind, func(t *testing.T) {
				eachBox(t, func(t *testing.T, b *box) {
					mended := 0
					b.o.Watch.Count = func(e Event) {
						if e == EventMended {
							mended++
						}
					}
					h, _ := take(t, b, "t1", "m1", 1)
					commitOf(t, b, h, "m1", 1)
					must(t, b.clear(t.Context(), h, [][]byte{[]byte("om1")}))
					_, _, err := b.release(t.Context(), h, everything, "")
					must(t, err)

					// Before the message begins.
					if name != "done" { // whatever is there says that it is finished
						foreign(t, b.rdb, key, kind)
					}
					h, got := take(t, b, "t2", "m2", 2)
					if got.state != stateGo {
						t.Fatalf("begin = %+v", got)
					}
					if kept := len(got.turns) == 1 && string(got.turns[0]) == "m1"; kept == (name == "session") {
						t.Errorf("turns %q", got.turns)
					}
					// While it runs.
					foreign(t, b.rdb, key, kind)
					c, err := b.commit(t.Context(), h, Task{ID: "m2", Sequence: 2, Epoch: got.epoch}, Outcome{Turn: []byte("m2"), Result: []byte("r"), Out: []byte("om2")}, false)
					must(t, err)
					if name == "box" {
						if c.state != stateLost { // Mailbox.commit begins again and keeps the answer
							t.Fatalf("commit = %+v", c)
						}
						h, got = take(t, b, "t2", "m2", 2)
						c = commitOf(t, b, h, "m2", 2)
					}
					if c.state != stateMore && c.state != stateReleased {
						t.Fatalf("commit = %+v", c)
					}
					turns := stored(t, b)
					if len(turns) == 0 || turns[len(turns)-1] != "m2" || len(turns) > 2 {
						t.Errorf("turns %v", turns)
					}
					if out := b.rdb.LRange(t.Context(), k.Out, 0, -1).Val(); len(out) != 1 || out[0] != "om2" {
						t.Errorf("outbox %v", out)
					}
					if r := b.rdb.Get(t.Context(), contracts.KeyResult(conv, "m2")).Val(); r != "r" {
						t.Errorf("result %q", r)
					}
					if name != "result" && mended == 0 { // what is written over is no harm
						t.Error("nothing was counted")
					}
					// A later commit of somebody who was fenced changes nothing.
					if again := commitOf(t, b, &holding{conversation: conv, token: "t0", fence: 1, created: 1}, "m2", 2); again.state != stateFinished {
						t.Errorf("again = %+v", again)
					}
				})
			})
		}
	}
}

// An error that is none of a foreign value is not looked into.
func TestOtherScriptErrors(t *testing.T) {
	eachBox(t, func(t *testing.T, b *box) {
		must(t, b.rdb.Close())
		if _, err := b.begin(t.Context(), wakeup{conversation: conv, id: "m", seq: 1, token: "t"}); err == nil {
			t.Error("no error")
		}
	})
}
