package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"moltbot/contracts"
)

// These runs destroy stored data on purpose. What is judged: no message that is
// in the stream stays unanswered, and within a conversation nothing is begun
// out of order. Doubles are allowed, and counted.

// phase sends messages from..to of every conversation and gives their ids.
func phase(ctx context.Context, t *testing.T, c *client, prefix string, conversations, from, to int) []string {
	t.Helper()
	ids := make([]string, conversations*(to-from))
	err := each(conversations, func(conv int) error {
		for n := from; n < to; n++ {
			id, err := c.accept(ctx, fmt.Sprintf("%s-%d", prefix, conv), text(conv, n), fmt.Sprintf("%s-%d-%d", prefix, conv, n))
			if err != nil {
				return err
			}
			ids[conv*(to-from)+n-from] = id
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// drained waits until every message in the stream is acknowledged. Nothing is
// acknowledged before it is finished.
func (y *system) drained(ctx context.Context) {
	y.t.Helper()
	js, done := y.stream()
	defer done()
	eventually(y.t, 60*time.Second, "everything in the stream acknowledged", func() bool {
		c, err := js.Consumer(ctx, contracts.StreamChat, contracts.ConsumerChat)
		return err == nil && c.CachedInfo().NumPending == 0 && c.CachedInfo().NumAckPending == 0
	})
}

func (l *ledger) verdict(t *testing.T) {
	t.Helper()
	t.Logf("%d messages run, %d doubles, %d out of order", len(l.runs()), l.doubles(), l.inversions())
	if n := l.inversions(); n > 0 {
		t.Errorf("%d messages begun after a later one of their conversation", n)
	}
}

const lossConversations = 30

// TestRedisEmptied empties Redis again and again while messages are under way.
func TestRedisEmptied(t *testing.T) {
	t.Parallel() // it waits more than it works
	l := newLedger(t, 20*time.Millisecond)
	y := build(t, shape{workers: 3, model: l.model})
	c, ctx := y.client(), timeLimit(t)
	for round := range size(3, 10) {
		from := 4 * round
		phase(ctx, t, c, "emptied", lossConversations, from, from+4)
		if err := y.rdb.FlushAll(ctx).Err(); err != nil {
			t.Fatal(err)
		}
	}
	y.drained(ctx)
	runs := l.runs()
	for conv := range lossConversations {
		for n := range 4 * size(3, 10) {
			if runs[text(conv, n)] == 0 {
				t.Errorf("conversation %d message %d was never answered", conv, n)
			}
		}
	}
	l.verdict(t)
}

// TestStreamRecreated deletes the stream under load. The product makes it again;
// what is accepted from then on is answered, although Redis remembers higher
// sequences of the old one.
func TestStreamRecreated(t *testing.T) {
	t.Parallel() // it waits more than it works
	l := newLedger(t, 10*time.Millisecond)
	y := build(t, shape{workers: 3, model: l.model})
	c, ctx := y.client(), timeLimit(t)
	next := 0
	for range size(2, 5) {
		phase(ctx, t, c, "again", lossConversations, next, next+4)
		js, done := y.stream()
		if err := js.DeleteStream(ctx, contracts.StreamChat); err != nil {
			t.Fatal(err)
		}
		done()
		// A duplicate of an old id would be dropped by nobody now; new messages only.
		after := phase(ctx, t, c, "again", lossConversations, next+4, next+8)
		y.answered(ctx, c, after)
		next += 8
	}
	y.drained(ctx)
	l.verdict(t)
}

// answered fails unless every id has its answer.
func (y *system) answered(ctx context.Context, c *client, ids []string) {
	y.t.Helper()
	err := each(len(ids), func(i int) error {
		_, err := c.answer(ctx, ids[i])
		return err
	})
	if err != nil {
		y.dump()
		y.t.Fatal(err)
	}
}

// TestStoreRolledBack puts back an old copy of the NATS store. Sequences start
// again below what Redis remembers.
func TestStoreRolledBack(t *testing.T) {
	t.Parallel() // it waits more than it works
	l := newLedger(t, 10*time.Millisecond)
	y := build(t, shape{workers: 3, model: l.model})
	c, ctx := y.client(), timeLimit(t)
	y.answered(ctx, c, phase(ctx, t, c, "rolled", lossConversations, 0, 4))
	y.nats[0].terminate()
	store, copied := filepath.Join(y.dir, "nats0"), filepath.Join(y.dir, "copy")
	copyDir(t, store, copied)
	y.nats[0].start()
	y.answered(ctx, c, phase(ctx, t, c, "rolled", lossConversations, 4, 12))
	phase(ctx, t, c, "rolled", lossConversations, 12, 14)
	y.nats[0].kill()
	if err := os.RemoveAll(store); err != nil {
		t.Fatal(err)
	}
	copyDir(t, copied, store)
	y.nats[0].start()
	y.answered(ctx, c, phase(ctx, t, c, "rolled", lossConversations, 14, 20))
	y.drained(ctx)
	l.verdict(t)
	r, err := c.chat(ctx, "rolled-0", "last", "", 30)
	expect(t, r, err, http.StatusOK, "")
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v\n%s", err, out)
	}
}
