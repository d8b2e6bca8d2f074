package bench

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"moltbot/ops/e2e/platform"
)

func TestWebhook(t *testing.T) {
	r := measured(t, quick(t, Webhook))
	if len(r.Rows) != 2 || r.Rows[0].Requests == 0 || r.Rows[1].Requests < r.Rows[0].Requests || r.Rows[1].Scenario != "webhook, seen" || r.Rows[1].Latency.P50 <= 0 {
		t.Fatalf("%+v", r.Rows)
	}
	if !strings.Contains(r.Rows[0].Note, "refused no call") {
		t.Error(r.Rows[0].Note)
	}
}

// The target must find what it is there to find.
func TestWebhookTargetCounts(t *testing.T) {
	w, err := newWebhookTarget()
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	var q fasthttp.Request
	for n := range uint64(2) {
		w.Prepare(&q, n)
		want := []string{"/feishu/webhook", "/dingtalk/webhook"}[n]
		if got := string(q.RequestURI()); got != want || len(q.Body()) == 0 {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if len(q.Header.Peek("X-Lark-Signature")) != 0 || len(q.Header.Peek("Sign")) == 0 {
		t.Error("the headers are those of the other platform")
	}
	answer := func(n string) {
		w.show(platform.Shown{At: time.Now(), Text: "You wrote: \"this is message number " + n + " of the bench\""})
	}
	w.Judge(nil, 0)
	answer("0")
	answer("1") // before its acknowledgement is read
	w.Judge(nil, 1)
	answer("1")
	w.Judge(nil, 2)
	w.show(platform.Shown{Text: "sorry"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.settle(ctx); err != nil {
		t.Fatal(err)
	}
	if w.way.TotalCount() != 2 || w.faults[faultTwice] != 1 || w.faults[faultUnseen] != 1 || w.faults[faultUnasked] != 1 {
		t.Errorf("%d seen, faults %v", w.way.TotalCount(), w.faults)
	}
}
