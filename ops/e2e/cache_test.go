package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// together sends the same question in n sessions at once, and gives how many of
// the answers were made for another message.
func together(ctx context.Context, c *client, prefix string, n int) (cached int64, err error) {
	var count atomic.Int64
	err = each(n, func(i int) error {
		id, err := c.accept(ctx, fmt.Sprintf("%s-%d", prefix, i), "the same #0", fmt.Sprintf("%s-%d", prefix, i))
		if err != nil {
			return err
		}
		r, err := c.answer(ctx, id)
		if err == nil && r.Reply != "seen 0" {
			err = fmt.Errorf("%s-%d: %q", prefix, i, r.Reply)
		}
		if r.Cached {
			count.Add(1)
		}
		return err
	})
	return count.Load(), err
}

// A burst of the same question over two worker processes is one call of the
// model; another caller's is another one, unless callers share; a purge makes
// it one more.
func TestCache(t *testing.T) {
	t.Parallel() // it waits more than it works
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprint("shared ", shared), func(t *testing.T) {
			l := newLedger(t, 300*time.Millisecond)
			y := build(t, shape{workers: 2, model: l.model, settings: fmt.Sprintf("cache: {shared: %v}\n", shared)})
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			ask := func(c *client, prefix string, n, calls int) {
				t.Helper()
				before := len(l.model.Requests())
				cached, err := together(ctx, c, prefix, n)
				if err != nil {
					y.dump()
					t.Fatal(err)
				}
				if made := len(l.model.Requests()) - before; made != calls || cached != int64(n-calls) {
					t.Errorf("%s: %d calls for %d questions, %d cached", prefix, made, n, cached)
				}
			}
			burst := size(300, 1000)
			one := y.client()
			ask(one, "burst", burst, 1)
			other := y.client()
			other.token = strings.TrimSpace(y.run("token", "-u", "other", "-d", "1"))
			if shared {
				ask(other, "other", 20, 0)
			} else {
				ask(other, "other", 20, 1)
			}
			y.run("cache", "purge")
			wait(ctx, 1100*time.Millisecond) // the longest time until all follow
			ask(one, "purged", 20, 1)
			y.usage(t, "api:tester", int64(burst+20), 2)
		})
	}
}

// usage waits for what a caller's answers came to.
func (y *system) usage(t *testing.T, caller string, answers, calls int64) {
	t.Helper()
	eventually(t, 10*time.Second, "the usage is written", func() bool {
		for line := range strings.Lines(y.run("usage")) {
			f := strings.Fields(line) // caller model calls prompt completion cost cached
			if len(f) == 7 && f[0] == caller {
				return f[2] == fmt.Sprint(calls) && f[6] == fmt.Sprint(answers-calls)
			}
		}
		return false
	})
}

// A worker that is killed in the middle of a call leaves a lease behind, not a
// question that nobody answers.
func TestCacheLeaderKilled(t *testing.T) {
	t.Parallel() // it waits more than it works
	l := newLedger(t, 2*time.Second)
	y := build(t, shape{workers: 2, model: l.model})
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c := y.client()
	var ids []string
	for i := range 20 {
		id, err := c.accept(ctx, fmt.Sprint("k-", i), "the same #0", fmt.Sprint("k-", i))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	eventually(t, 10*time.Second, "the model is asked", func() bool { return len(l.model.Requests()) > 0 })
	for _, w := range y.workers { // whichever leads
		w.kill()
		w.start()
		eventually(t, 20*time.Second, "ready again", y.ready)
	}
	for _, id := range ids {
		if r, err := c.answer(ctx, id); err != nil || r.Reply != "seen 0" {
			y.dump()
			t.Fatal(r.Reply, err)
		}
	}
	if n := len(l.model.Requests()); n < 2 || n > 4 {
		t.Errorf("%d calls: a killed one or two, and those that went on", n)
	}
	if r, err := c.chat(ctx, "last", "the same #0", "", 30); err != nil || r.status != http.StatusOK || !r.reply.Cached {
		t.Errorf("%+v, %v", r, err)
	}
}
