package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"moltbot/ops/e2e/platform"
)

const (
	burstCallbacks = 1000
	burstTries     = 3
)

// TestWebhookBurst sends a thousand callbacks within a second. Each is acknowledged
// within the 3 s that a platform waits, whatever else this machine does: the
// stand-ins give up after that. The second that we promise holds in one burst of
// three: another process takes the machine away once, a slow ingress is slow always.
func TestWebhookBurst(t *testing.T) {
	c := connect(t, shape{}, platform.Options{})
	ctx := timeLimit(t)
	for try := 1; ; try++ {
		before := c.late()
		began := time.Now()
		urls := c.checkURLs(ctx)
		if err := c.volley(ctx, try); err != nil {
			t.Fatal(err)
		}
		late := c.late() - before
		if took := urls(); took > time.Second {
			t.Logf("the slowest check of the URL took %s", took)
			late++
		}
		t.Logf("%d callbacks in %s, %d acknowledged after more than a second", burstCallbacks, time.Since(began).Round(time.Millisecond), late)
		if n := c.stored(ctx); n != uint64(try*burstCallbacks) {
			t.Errorf("%d messages are stored, want %d", n, try*burstCallbacks)
		}
		if late == 0 {
			break
		}
		if try == burstTries {
			t.Errorf("in each of %d bursts acknowledgements took more than a second", try)
			break
		}
	}
	c.clean()
}

// checkURLs has the URL checked again and again until the function it gives is
// called, which gives the longest time that one took.
func (c *channels) checkURLs(ctx context.Context) (stop func() time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	longest := make(chan time.Duration, 1)
	go func() {
		var most time.Duration
		for ctx.Err() == nil {
			began := time.Now()
			if err := c.feishu.CheckURL(context.WithoutCancel(ctx), true); err != nil {
				c.t.Errorf("check of the URL: %v", err)
			}
			most = max(most, time.Since(began))
			wait(ctx, 20*time.Millisecond)
		}
		longest <- most
	}()
	return func() time.Duration { cancel(); return <-longest }
}

// volley sends one burst on both platforms, every callback at its time.
func (c *channels) volley(ctx context.Context, try int) error {
	all := make([]*platform.Incoming, burstCallbacks)
	sides := []platform.Platform{c.feishu, c.ding}
	for i := range all {
		m := platform.Message{Chat: fmt.Sprint("oc_burst", i%20), User: "ou_1", Direct: true, Text: text(i%20, try*burstCallbacks+i)}
		all[i] = sides[i%2].Write(m)
	}
	return each(burstCallbacks, func(i int) error {
		wait(ctx, time.Duration(i)*time.Second/burstCallbacks)
		return sides[i%2].Push(ctx, all[i])
	})
}

// late counts the acknowledgements that took more than a second.
func (c *channels) late() int { return c.feishu.Acks().Late + c.ding.Acks().Late }
