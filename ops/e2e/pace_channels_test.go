package e2e

import (
	"fmt"
	"testing"
	"time"

	"moltbot/ops/e2e/platform"
)

// TestPaceOfChannels has two processes send at once more than the platforms take,
// into one chat and into many: the platforms' limits hold for both together. What
// a platform refuses all the same, because calls are not all equally long under
// way, is little, and comes later: nothing is lost, doubled or out of order.
func TestPaceOfChannels(t *testing.T) {
	t.Parallel() // it waits more than it works
	l := newLedger(t, 0)
	c := connect(t, shape{workers: 2, model: l.model}, platform.Options{}, `received: "off"`)
	ctx := timeLimit(t)
	c.ding.ExpireSessions(0) // only calls of the robot are limited
	const one, many = 15, 60
	began := time.Now()
	for n := range one { // more than 5 a second into one chat
		if err := c.feishu.Push(ctx, c.feishu.Write(platform.Message{Chat: "oc_one", User: "ou_one", Direct: true, Text: text(0, n)})); err != nil {
			t.Fatal(err)
		}
	}
	err := each(many, func(i int) error { // more than 20 a second by one robot
		return c.ding.Push(ctx, c.ding.Write(platform.Message{Chat: fmt.Sprint("cid_", i), User: fmt.Sprint("staff_", i), Direct: true, Text: text(i, 0)}))
	})
	if err != nil {
		t.Fatal(err)
	}
	c.sent(ctx)
	took := time.Since(began)
	t.Logf("took %s; refused by feishu %d of %d, by dingtalk %d of %d", took.Round(time.Millisecond), c.feishu.Limited(), one, c.ding.Limited(), many)
	if least := (one - 6) * time.Second / 5; took < least {
		t.Errorf("%d messages went into one chat within %s", one, took)
	}
	if n := c.feishu.Limited(); n > one/2 {
		t.Errorf("feishu refused %d of %d", n, one)
	}
	if n := c.ding.Limited(); n > many/2 {
		t.Errorf("dingtalk refused %d of %d", n, many)
	}
	c.judgeFeishu()
	c.judgeDingTalk()
	c.clean()
}
