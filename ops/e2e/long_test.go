package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"moltbot/ingress/imtest"
	"moltbot/ops/e2e/platform"
)

// takeOver is how soon another process has an application's long connection when
// its owner is gone (R16).
const takeOver = 15 * time.Second

// TestLongConnections has both platforms push over long connections to two ingress
// processes of which one owns each application. When the owner is killed the other
// takes over, and nobody is answered twice.
func TestLongConnections(t *testing.T) {
	t.Parallel() // it waits more than it works
	ctx := timeLimit(t)
	wires := struct {
		feishu *imtest.Feishu
		ding   *imtest.DingTalk
	}{imtest.NewFeishu(feishuApp.AppID, feishuApp.AppSecret), imtest.NewDingTalk(dingApp.ClientID, dingApp.ClientSecret)}
	t.Cleanup(wires.feishu.Close)
	t.Cleanup(wires.ding.Close)
	c := connectBoth(t, shape{workers: 1, model: newParrot(t)},
		platform.Options{LongConnections: wires.feishu.URL, Redeliver: platform.Redelivery(100), Over: func(ctx context.Context, plain []byte) error {
			return acknowledged(wires.feishu.Push(ctx, plain, 2))
		}},
		platform.Options{LongConnections: wires.ding.URL, Redeliver: platform.Redelivery(100), Over: func(ctx context.Context, plain []byte) error {
			return acknowledged(wires.ding.Push(ctx, plain))
		}},
		"mode: websocket", "mode: stream")
	second := c.rated("second")
	owned := func(within time.Duration) {
		t.Helper()
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		if err := errors.Join(wires.feishu.WaitConnected(ctx, 1), wires.ding.WaitConnected(ctx, 1)); err != nil {
			c.dump()
			t.Fatalf("%v; connected: feishu %d, dingtalk %d", err, wires.feishu.Connected(), wires.ding.Connected())
		}
	}
	ask := func(text string, n int) {
		t.Helper()
		for _, p := range []platform.Platform{c.feishu, c.ding} {
			m := platform.Message{Chat: "oc_long", User: "ou_long", Direct: true, Text: text}
			if got, want := c.ask(ctx, p, m), fmt.Sprintf("heard %d: %s", n, text); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
	}
	owned(30 * time.Second)
	ask("by the first", 1)
	c.ingress.kill()
	began := time.Now()
	owned(3 * takeOver) // of a machine that does other things as well
	t.Logf("the second ingress (%s) had both connections after %s", second, time.Since(began).Round(time.Millisecond))
	ask("by the second", 2)
	c.clean()
}

func acknowledged(a imtest.Ack, err error) error {
	if err == nil && a.Code != http.StatusOK {
		return fmt.Errorf("acknowledged with %d", a.Code)
	}
	return err
}
