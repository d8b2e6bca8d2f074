package e2e

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/ops/keyring"
	"moltbot/workers/model/modeltest"
	turns "moltbot/workers/session"
)

var fact = regexp.MustCompile(`FACT-\w+`)

// TestSummaries lets a fact of the third turn fall out of the window, kills one
// scheduler while a model writes the summary and another when it is stored and the
// queue does not know yet, and then looks whether each turn was
// folded once, whether the last prompt knows the fact, and whether it stands
// anywhere in the clear.
func TestSummaries(t *testing.T) {
	t.Parallel() // it waits more than it works
	total := 60
	if *full {
		total = 200
	}
	const said = "FACT-9Kq3vTzXw"
	gate := modeltest.NewGate()
	t.Cleanup(gate.Release)
	upstream := modeltest.New(modeltest.Options{Key: "test-key",
		Reply: func(r modeltest.Request) string {
			if text, ok := modeltest.Summary(r, fact); ok {
				return text
			}
			return "noted"
		},
		Behave: func(r modeltest.Request) modeltest.Behavior {
			if _, ok := modeltest.Summary(r, fact); ok {
				return modeltest.Behavior{Gate: gate}
			}
			return modeltest.Behavior{}
		},
	})
	t.Cleanup(upstream.Close)
	y := build(t, shape{workers: 2, model: upstream, settings: "scheduler: {retry_base: 1s, retry_max: 2s}\n"})
	first := y.scheduler("scheduler0")
	c, ctx := y.client(), timeLimit(t)
	sent := 0
	say := func(text string) {
		t.Helper()
		sent++
		r, err := c.chat(ctx, "s", text, fmt.Sprint("key", sent), 30)
		if err != nil || r.status != http.StatusOK {
			t.Fatalf("turn %d: %d %v", sent, r.status, err)
		}
	}
	for sent < 20 {
		text := fmt.Sprintf("message %d", sent)
		if sent == 2 {
			text = "it matters: " + said
		}
		say(text)
	}
	select {
	case <-gate.Entered(): // the model is at the summary
	case <-ctx.Done():
		t.Fatalf("no summary is asked for\n%s", first.tail())
	}
	first.kill()
	upstream.Behave(func(modeltest.Request) modeltest.Behavior { return modeltest.Behavior{} })
	// The next one dies with the summary stored and the task not yet done.
	second := y.scheduler("scheduler1", "CRASH_POINT=task_ran", "CRASH_ONCE="+filepath.Join(t.TempDir(), "crashed"))
	for range 12 { // more than any worker waits before it asks again
		say(fmt.Sprintf("message %d", sent))
	}
	select {
	case <-second.signal(0):
	case <-ctx.Done():
		t.Fatalf("%s has not died with its task done\n%s", second.name, second.tail())
	}
	y.scheduler("scheduler2")
	y.scheduler("scheduler3")
	for sent < total {
		say(fmt.Sprintf("message %d", sent))
	}
	store, conversation := y.sessions(t)
	var sum contracts.Summary
	defer func() {
		if t.Failed() {
			out := y.run("task", "list")
			t.Logf("%d turns are summarized, %d left; tasks:\n%s\n%s\n%s", sum.Turns, y.rdb.LLen(context.Background(), contracts.KeySession(conversation)).Val(), out, y.extra[1].tail(), y.extra[2].tail())
		}
	}()
	eventually(t, 60*time.Second, "the turns are summarized", func() bool {
		b, err := y.rdb.Get(ctx, contracts.KeySummary(conversation)).Bytes()
		if err != nil {
			return false
		}
		if sum, err = store.OpenSummary(conversation, b); err != nil {
			t.Fatal(err)
		}
		// Each worker waits 5 turns before it asks again, and may have asked for
		// fewer than are there now: the rest is for the turn that comes next.
		return y.rdb.LLen(ctx, contracts.KeySession(conversation)).Val() < rounds+2*5
	})
	written, folds, failed := 0, 0, 0
	for _, q := range upstream.Requests() {
		if _, ok := modeltest.Summary(q, fact); ok {
			written++
		}
	}
	for _, p := range y.extra {
		folds, failed = folds+p.lines("turns summarized"), failed+p.lines("task failed")
	}
	t.Logf("%d turns: %d summaries written, %d stored, %d runs failed", sent, written, folds, failed)
	say("what do you know?")
	// What is asked for already may still be folded: the two numbers belong together then.
	eventually(t, 30*time.Second, "every turn is in the summary or left, once", func() bool {
		b, err := y.rdb.Get(ctx, contracts.KeySummary(conversation)).Bytes()
		if err == nil {
			sum, err = store.OpenSummary(conversation, b)
		}
		return err == nil && sum.Turns+int(y.rdb.LLen(ctx, contracts.KeySession(conversation)).Val()) == sent
	})
	if !strings.Contains(sum.Text, said) {
		t.Errorf("the summary is %q", sum.Text)
	}
	var last modeltest.Request
	for _, q := range upstream.Requests() {
		if _, ok := modeltest.Summary(q, fact); !ok {
			last = q
		}
	}
	prompt := fmt.Sprint(last.Messages)
	if !strings.Contains(prompt, said) || strings.Contains(prompt, "it matters") {
		t.Errorf("the last prompt is %s", prompt)
	}
	if y.redis != nil {
		if err := y.rdb.Save(ctx).Err(); err != nil {
			t.Fatal(err)
		}
	}
	y.search(t, map[string][]byte{"fact": []byte(said), "summary": []byte("The user said")})
}

// scheduler starts a process with the role.
func (y *system) scheduler(name string, env ...string) *process {
	p := newProcess(y.t, y.dir, name, y.bin, "--config", y.config, "serve", "scheduler")
	p.env = env
	p.start()
	y.extra = append(y.extra, p)
	return p
}

// sessions opens what the processes sealed, and names the one conversation.
func (y *system) sessions(t *testing.T) (*turns.Store, string) {
	t.Helper()
	keys, err := keyring.Open(context.Background(), y.dir+"/data/keys", keyring.Options{})
	if err != nil {
		t.Fatal(err)
	}
	lists := y.rdb.Keys(context.Background(), "session:*").Val()
	if len(lists) != 1 {
		t.Fatalf("sessions: %v", lists)
	}
	conversation := strings.Trim(strings.TrimPrefix(lists[0], "session:"), "{}")
	return turns.New(turns.Options{Redis: y.rdb, Sealer: keys.Sealer()}), conversation
}
