package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/ops/e2e/platform"
)

// channels is a moltbot between two platforms, whose ledger is the judge.
type channels struct {
	*system
	*platform.Ledger
	feishu *platform.FeishuAPI
	ding   *platform.DingTalkAPI
}

var (
	feishuApp = platform.FeishuApp{
		AppID: "cli_a0b1c2d3e4f5a6b7", AppSecret: "FeishuAppSecret-7Qm2xWv9Zp4K", EncryptKey: "FeishuEncryptKey-3Hn8cRt5Ls1B",
		VerificationToken: "FeishuVerification-6Jd4yGk0Xw2V", TenantKey: "1a2b3c4d5e6f7a8b", BotOpenID: "ou_00000000000000000000000000b07b07",
	}
	dingApp = platform.DingTalkApp{
		ClientID: "dingmadeupclientid00", ClientSecret: "DingTalkClientSecret-9Tb5uEa7Of3M", RobotCode: "dingmadeuprobotcode0", CorpID: "ding0000aaaa1111bbbb",
	}
)

// connect starts both stand-ins and a system whose applications they are. settings
// of s must name neither feishu, dingtalk nor deliver; more are further settings
// of the applications.
func connect(t *testing.T, s shape, o platform.Options, more ...string) *channels {
	t.Helper()
	extra := strings.Join(more, ", ")
	return connectBoth(t, s, o, o, extra, extra)
}

// connectBoth does so with options and further settings for Feishu and for DingTalk.
func connectBoth(t *testing.T, s shape, feishu, ding platform.Options, moreFeishu, moreDing string) *channels {
	t.Helper()
	c := &channels{Ledger: &platform.Ledger{}}
	feishu.Ledger, ding.Ledger = c.Ledger, c.Ledger
	var err error
	if c.feishu, err = platform.NewFeishu(feishuApp, feishu); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.feishu.Close)
	if c.ding, err = platform.NewDingTalk(dingApp, ding); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.ding.Close)
	s.settings += fmt.Sprintf(`feishu: {app_id: %s, app_secret: %s, encrypt_key: %s, verification_token: %s, tenant_key: %s, endpoint: %q, timeout: 4s, %s}
dingtalk: {client_id: %s, client_secret: %s, robot_code: %s, corp_id: %s, endpoint: %q, webhook_origins: [%q], timeout: 4s, %s}
deliver: {allow_networks: [127.0.0.0/8], max_attempts: 60}
`, feishuApp.AppID, feishuApp.AppSecret, feishuApp.EncryptKey, feishuApp.VerificationToken, feishuApp.TenantKey, c.feishu.URL(), moreFeishu,
		dingApp.ClientID, dingApp.ClientSecret, dingApp.RobotCode, dingApp.CorpID, c.ding.URL(), c.ding.URL(), moreDing)
	c.system = build(t, s)
	c.feishu.Webhook(c.base + "/feishu/webhook")
	c.ding.Webhook(c.base + "/dingtalk/webhook")
	return c
}

// clean fails the test for calls that a platform refuses, and for webhooks that
// were not acknowledged as they want it.
func (c *channels) clean() {
	c.t.Helper()
	for _, complaint := range append(c.feishu.Complaints(), c.ding.Complaints()...) {
		c.t.Errorf("complaint of %s", complaint)
	}
	for name, a := range map[string]platform.Acks{platform.Feishu: c.feishu.Acks(), platform.DingTalk: c.ding.Acks()} {
		for _, bad := range a.Bad[:min(3, len(a.Bad))] {
			c.t.Errorf("%s: acknowledgement: %s", name, bad)
		}
		if a.Count > 0 {
			c.t.Logf("%s: %d acknowledgements, P50 %s, P99 %s, max %s", name, a.Count, a.P50, a.P99, a.Max)
		}
	}
}

// shown waits until a chat shows what done wants, and gives all of it.
func (c *channels) shown(ctx context.Context, name, chat string, done func([]platform.Shown) bool) []platform.Shown {
	c.t.Helper()
	for {
		next := c.Seen()
		all := c.Shown(name, chat)
		if done(all) {
			return all
		}
		select {
		case <-next:
		case <-ctx.Done():
			c.dump()
			c.t.Fatalf("%s %s shows only %d messages: %+v", name, chat, len(all), all)
		}
	}
}

// ask writes into a chat and gives the one message that it then shows.
func (c *channels) ask(ctx context.Context, p platform.Platform, m platform.Message) string {
	c.t.Helper()
	in := p.Write(m)
	before := len(c.Shown(in.Platform, m.Chat))
	if err := p.Push(ctx, in); err != nil {
		c.dump()
		c.t.Fatal(err)
	}
	all := c.shown(ctx, in.Platform, m.Chat, func(all []platform.Shown) bool { return len(all) > before })
	if len(all) != before+1 {
		c.t.Errorf("%q has %d answers: %+v", m.Text, len(all)-before, all[before:])
	}
	return all[before].Text
}

// sent waits until nothing is on its way out.
func (c *channels) sent(ctx context.Context) {
	c.t.Helper()
	c.drained(ctx)
	js, done := c.stream()
	defer done()
	eventually(c.t, 60*time.Second, "everything in SEND acknowledged", func() bool {
		s, err := js.Consumer(ctx, contracts.StreamSend, contracts.ConsumerSend)
		return err == nil && s.CachedInfo().NumPending == 0 && s.CachedInfo().NumAckPending == 0
	})
}

// wrote is the number in a message of text.
func wrote(s string) (int, bool) {
	_, n, _ := strings.Cut(s, "#")
	i, err := strconv.Atoi(n)
	return i, err == nil
}

// answers is the number of the message that an answer of shown is to.
func answers(s string) (int, bool) {
	list, is := strings.CutPrefix(strings.TrimSpace(s), "seen ")
	i, err := strconv.Atoi(list[strings.LastIndexByte(list, ',')+1:])
	return i, is && err == nil
}

// stored counts the messages that lie in the stream.
func (c *channels) stored(ctx context.Context) uint64 {
	c.t.Helper()
	js, done := c.stream()
	defer done()
	s, err := js.Stream(ctx, contracts.StreamChat)
	if err != nil {
		c.t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// forge posts what no platform has signed.
func (c *channels) forge(ctx context.Context, path string, header http.Header, body []byte) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header = header.Clone()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}
