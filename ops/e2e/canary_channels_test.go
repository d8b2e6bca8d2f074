package e2e

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"

	"moltbot/ops/e2e/platform"
	"moltbot/workers/model/modeltest"
)

// TestCanaryOfChannels writes a text that can be found again by both platforms,
// in every kind of message, and lets its answer be sent, refused for good with the
// text in the platform's error, and become uncertain. Then it looks for the text,
// for the session webhooks, the tokens and the applications' secrets in everything
// that was written.
func TestCanaryOfChannels(t *testing.T) {
	t.Parallel() // it waits more than it works
	const canary = "CANARY4nRt8yQw2Ls"
	model := modeltest.New(modeltest.Options{Key: "test-key", Reply: func(modeltest.Request) string { return canary + " is answered" }})
	t.Cleanup(model.Close)
	traces := collectTraces(t)
	c := connect(t, shape{workers: 1, model: model, settings: killChannelSettings + "trace: {endpoint: \"" + traces.URL + "\", sample: 1}\n"}, platform.Options{})
	ctx := timeLimit(t)
	faults := []platform.Fault{
		{},
		platform.JSON(http.StatusBadRequest, `{"code":230022,"msg":"`+canary+`","errcode":400002,"errmsg":"`+canary+`","message":"`+canary+`"}`),
		{Reset: true, Seen: true},
	}
	for i, f := range faults {
		for _, p := range []platform.Platform{c.feishu, c.ding} {
			c.feishu.Break(once(f))
			c.ding.Break(once(f))
			for _, kind := range []string{"", "file"} {
				m := platform.Message{Chat: fmt.Sprint("oc_", i), User: "ou_canary", Direct: i%2 == 0, Mention: true, Kind: kind, Text: canary + " " + kind}
				if err := p.Push(ctx, p.Write(m)); err != nil {
					t.Fatal(err)
				}
			}
			c.sent(ctx)
		}
	}
	// Nothing of a callback that is refused is written either.
	forged := c.feishu.Write(platform.Message{Chat: "oc_0", User: "ou_canary", Direct: true, Text: canary})
	for _, path := range []string{"/feishu/webhook", "/dingtalk/webhook", "/feishu/webhook/" + canary} {
		header, _ := c.feishu.Request(forged)
		if status, err := c.forge(ctx, path, header, c.feishu.Event(forged)); err != nil || status < 400 || status >= 500 {
			t.Errorf("a forged callback to %s: %d %v", path, status, err)
		}
	}
	seen := len(c.Shown(platform.Feishu, "")) + len(c.Shown(platform.DingTalk, ""))
	t.Logf("%d messages shown", seen)
	if seen < 4 {
		t.Error("too little was shown: the test does not go where it should")
	}
	for _, p := range append(c.workers, c.ingress) {
		c.write(filepath.Join(c.dir, p.name+".metrics"), p.metrics())
		p.terminate() // with its last traces
	}
	c.write(filepath.Join(c.dir, "traces"), traces.sent())
	c.write(filepath.Join(c.dir, "redis.values"), c.values(ctx, "session", "box", "delivery", "done"))
	if c.redis != nil {
		if err := c.rdb.Save(ctx).Err(); err != nil {
			t.Fatal(err)
		}
	}
	files, size := c.search(t, c.secrets(canary))
	t.Logf("%d files, %d bytes searched", files, size)
	if files < 8 || size < 10_000 {
		t.Error("too little was searched: the test looks in the wrong place")
	}
}

// secrets is what must stand nowhere.
func (c *channels) secrets(canary string) map[string][]byte {
	c.t.Helper()
	all := map[string][]byte{
		"canary": []byte(canary), "app secret of Feishu": []byte(feishuApp.AppSecret), "encrypt key": []byte(feishuApp.EncryptKey),
		"verification token": []byte(feishuApp.VerificationToken), "client secret of DingTalk": []byte(dingApp.ClientSecret),
		"token of Feishu": []byte(c.feishu.Token()),
	}
	for i := range 3 { // the text as base64 would hold it, at each alignment
		b := base64.StdEncoding.EncodeToString(append(make([]byte, i), canary...))
		all[fmt.Sprint("canary in base64 ", i)] = []byte(b[4 : len(b)-4])
	}
	for i, s := range c.ding.Sessions() {
		all[fmt.Sprint("session webhook ", i)] = []byte(s)
	}
	for name, s := range all {
		if len(s) < 8 {
			c.t.Fatalf("%s is too short to be looked for: %q", name, s)
		}
	}
	return all
}
