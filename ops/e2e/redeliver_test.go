package e2e

import (
	"sync"
	"testing"
	"time"

	"moltbot/ops/e2e/platform"
)

// longestRedelivery is when Feishu calls a webhook for the last time: 15 s, 5 min,
// 1 h and 6 h after one another (facts). What recognizes a repeat must live longer.
const longestRedelivery = 8 * time.Hour

// TestRedeliveries pushes one message again and again, as the platforms do when an
// acknowledgement was lost, with a restart of every role, of NATS and of Redis
// between: it is answered once, and what recognizes it outlives the last of them.
func TestRedeliveries(t *testing.T) {
	t.Parallel() // it waits more than it works
	l := newLedger(t, 300*time.Millisecond)
	c := connect(t, shape{workers: 1, model: l.model, settings: killChannelSettings}, platform.Options{Redeliver: platform.Redelivery(100)})
	ctx := timeLimit(t)
	direct := platform.Message{Chat: "oc_again", User: "ou_again", Direct: true, Text: text(0, 0)}
	of := map[string]*platform.Incoming{}
	// While it is being answered, all at once.
	var wg sync.WaitGroup
	for name, p := range map[string]platform.Platform{platform.Feishu: c.feishu, platform.DingTalk: c.ding} {
		in := p.Write(direct)
		of[name] = in
		for range 20 {
			wg.Go(func() {
				if err := p.Push(ctx, in); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	again := func() {
		for _, in := range []*platform.Incoming{of[platform.Feishu], c.feishu.Again(of[platform.Feishu])} {
			if err := c.feishu.Push(ctx, in); err != nil {
				t.Error(err)
			}
		}
		if err := c.ding.Push(ctx, of[platform.DingTalk]); err != nil {
			t.Error(err)
		}
	}
	c.workers[0].crash() // in the middle of it
	again()
	for name := range of {
		c.shown(ctx, name, direct.Chat, func(all []platform.Shown) bool { return len(all) > 0 })
	}
	restarts := []*process{c.ingress, c.workers[0], c.nats[0]}
	if c.redis != nil {
		restarts = append(restarts, c.redis)
	}
	for _, p := range restarts {
		p.crash()
		eventually(t, 20*time.Second, "ready", c.ready)
		again()
	}
	c.sent(ctx)
	for name := range of {
		if got := c.Shown(name, direct.Chat); len(got) != 1 {
			t.Errorf("%s shows %d answers: %+v", name, len(got), got)
		}
	}
	c.remembers()
	// The next message is answered with the one before in its context, once.
	next := direct
	next.Text = text(0, 1)
	for _, p := range []platform.Platform{c.feishu, c.ding} {
		if got := c.ask(ctx, p, next); got != expected(1) {
			t.Errorf("the next message is answered %q, want %q", got, expected(1))
		}
	}
	c.clean()
}

// remembers wants the marks of finished messages and sent answers to live longer
// than any redelivery.
func (c *channels) remembers() {
	c.t.Helper()
	for _, kind := range []string{"done:*", "delivery:*"} {
		keys := c.rdb.Keys(c.t.Context(), kind).Val()
		if len(keys) == 0 {
			c.t.Errorf("there is no key %s", kind)
		}
		for _, key := range keys {
			if left := c.rdb.TTL(c.t.Context(), key).Val(); left < longestRedelivery {
				c.t.Errorf("%s lives for %s, want more than %s", key, left, longestRedelivery)
			}
		}
	}
}
