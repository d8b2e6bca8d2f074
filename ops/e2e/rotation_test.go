package e2e

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"moltbot/contracts"
)

const rotationCanary = "CANARYrotate8Kx"

// TestKeyRotation changes the sealing key of three processes under load: no
// request may fail, no turn may be missing from a later prompt, and in the end
// nothing in Redis may need the key of before.
func TestKeyRotation(t *testing.T) {
	t.Parallel() // it waits more than it works
	l := newLedger(t, 10*time.Millisecond)
	y := build(t, shape{workers: 2, model: l.model})
	ctx, stop := context.WithCancel(timeLimit(t))
	defer stop()
	lanes := newLanes(y.client(), 8)
	var wg sync.WaitGroup
	lanes.start(ctx, &wg)
	eventually(t, 30*time.Second, "every lane has answers", func() bool { return lanes.answered.Load() > 30 })

	first := y.keys(t).primary(t)
	var added, promoted struct{ Key uint32 }
	decode(t, y.run("key", "add", "--json"), &added)
	eventually(t, 20*time.Second, "every process holds the new key", func() bool { return y.keys(t).holding(added.Key) == 3 })
	decode(t, y.run("key", "promote", fmt.Sprint(added.Key), "--json"), &promoted)
	if second := y.keys(t).primary(t); second != added.Key || promoted.Key != second || second == first {
		t.Fatalf("primary %d, added %d, promoted %d", second, added.Key, promoted.Key)
	}
	var sealed contracts.Resealing
	decode(t, y.run("key", "reseal", "--wait", "--json"), &sealed)
	if !sealed.Covers(added.Key) || sealed.Bad != 0 || sealed.Left != 0 {
		t.Errorf("resealed: %+v", sealed)
	}
	y.run("key", "retire", fmt.Sprint(first))
	if text := y.refused(t, "key", "destroy", fmt.Sprint(first)); !strings.Contains(text, "it can be destroyed from 20") {
		t.Errorf("destroy: %s", text)
	}
	// What the workers remember is gone: from here on all of it is read anew.
	for _, w := range y.workers {
		w.terminate()
		w.start()
	}
	answered := lanes.answered.Load()
	eventually(t, 30*time.Second, "answers after the restart", func() bool { return lanes.answered.Load() > answered+30 })
	stop()
	wg.Wait()
	t.Logf("%d requests answered by three processes while the key changed; %d values sealed anew at once, %d failed", lanes.answered.Load(), sealed.Sealed, len(lanes.failed))
	if err := errors.Join(lanes.failed...); err != nil {
		y.dump()
		t.Error(err)
	}
	for _, p := range append(y.workers, y.ingress) {
		if n := p.lines("turns that do not open"); n > 0 {
			t.Errorf("%s: %d prompts without turns that did not open", p.name, n)
		}
	}
	y.onlySealedWith(t, added.Key)
	files, size := y.search(t, map[string][]byte{"canary": []byte(rotationCanary)})
	t.Logf("%d files, %d bytes searched", files, size)
	if files < 8 || size < 10_000 {
		t.Error("too little was searched: the test looks in the wrong place")
	}
}

// lanes are callers, each with a conversation of its own.
type lanes struct {
	c        *client
	n        int
	answered atomic.Int64
	mu       sync.Mutex
	failed   []error
}

func newLanes(c *client, n int) *lanes { return &lanes{c: c, n: n} }

func (l *lanes) start(ctx context.Context, wg *sync.WaitGroup) {
	for lane := range l.n {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if err := l.ask(lane, n); err != nil {
					l.mu.Lock()
					l.failed = append(l.failed, fmt.Errorf("lane %d message %d: %w", lane, n, err))
					l.mu.Unlock()
					return
				}
				l.answered.Add(1)
				wait(ctx, 50*time.Millisecond)
			}
		})
	}
}

// ask wants an answer from which one sees that every turn before was readable.
func (l *lanes) ask(lane, n int) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := l.c.chat(ctx, fmt.Sprintf("rotate-%d", lane), fmt.Sprintf("%s c%d #%d", rotationCanary, lane, n), fmt.Sprintf("rotate-%d-%d", lane, n), 30)
	switch {
	case err != nil:
		return err
	case r.status == http.StatusAccepted:
		if r.reply, err = l.c.answer(ctx, r.reply.ID); err != nil {
			return err
		}
	case r.status != http.StatusOK:
		return fmt.Errorf("%d %s: %s", r.status, r.problem.Code, r.problem.Detail)
	}
	if r.reply.Reply != expected(n) {
		return fmt.Errorf("answered %q, want %q", r.reply.Reply, expected(n))
	}
	return nil
}

// keyList is what "moltbot key list" shows.
type keyList struct {
	Keys []struct {
		ID    uint32
		State string
	}
	Running *contracts.AdminKeys
}

func (y *system) keys(t *testing.T) (k keyList) {
	t.Helper()
	decode(t, y.run("key", "list", "--json"), &k)
	return k
}

func (k keyList) primary(t *testing.T) uint32 {
	t.Helper()
	for _, key := range k.Keys {
		if key.State == "primary" {
			return key.ID
		}
	}
	t.Fatalf("no primary key in %+v", k)
	return 0
}

func (k keyList) holding(key uint32) (n int) {
	if k.Running == nil {
		return 0
	}
	for _, p := range k.Running.Processes {
		if p.Holds(key) {
			n++
		}
	}
	return n
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
}

// refused runs a command that must fail, and gives what it says.
func (y *system) refused(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(y.bin, append([]string{"--config", y.config}, args...)...).CombinedOutput()
	if err == nil {
		t.Errorf("moltbot %s worked: %s", strings.Join(args, " "), out)
	}
	return string(out)
}

// onlySealedWith looks at everything in Redis, past the product.
func (y *system) onlySealedWith(t *testing.T, key uint32) {
	t.Helper()
	ctx := context.Background()
	seen := 0
	check := func(name, value string, record bool) {
		t.Helper()
		b := []byte(value)
		if record {
			r, err := contracts.DecodeSealed(b)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			b = r.Data
		}
		if seen++; len(b) < 5 || b[0] != 1 || binary.BigEndian.Uint32(b[1:]) != key {
			t.Errorf("%s: a value is sealed with another key", name)
		}
	}
	keys, err := y.rdb.Keys(ctx, "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		switch name, _, _ := strings.Cut(k, ":"); name {
		case "session":
			for _, v := range y.rdb.LRange(ctx, k, 0, -1).Val() {
				check(k, v, true)
			}
		case "result", "summary", "about":
			check(k, y.rdb.Get(ctx, k).Val(), true)
		case "cache":
			check(k, y.rdb.Get(ctx, k).Val(), false)
		case "usage-names":
			for _, v := range y.rdb.HGetAll(ctx, k).Val() {
				check(k, v, false)
			}
		}
	}
	if t.Logf("%d sealed values in Redis", seen); seen < 100 {
		t.Error("too few values: the test looks in the wrong place")
	}
}
