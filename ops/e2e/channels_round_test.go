package e2e

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"moltbot/ops/e2e/platform"
	"moltbot/workers/model/modeltest"
)

// paragraphs is an answer that no platform shows in one message.
const paragraphs = 60

// parrot says what it heard; "#" makes the number of messages it was shown, and
// "long" an answer of many numbered paragraphs.
func parrot(r modeltest.Request) string {
	if strings.Contains(r.LastUser(), "long") {
		var b strings.Builder
		for i := range paragraphs {
			fmt.Fprintf(&b, "Paragraph %d. %s\n\n", i, strings.Repeat("每一段都有许多字。", 60))
		}
		return b.String()
	}
	users := 0
	for _, m := range r.Messages {
		if m.Role == "user" {
			users++
		}
	}
	return fmt.Sprintf("heard %d: %s", users, r.LastUser())
}

func newParrot(t *testing.T) *modeltest.Server {
	m := modeltest.New(modeltest.Options{Key: "test-key", Reply: parrot})
	t.Cleanup(m.Close)
	return m
}

// TestFeishuRoundTrip is what users of Feishu do, and see.
func TestFeishuRoundTrip(t *testing.T) {
	t.Parallel() // it waits more than it works
	c := connect(t, shape{workers: 1, model: newParrot(t)}, platform.Options{})
	ctx := timeLimit(t)
	for _, encrypted := range []bool{false, true} {
		if err := c.feishu.CheckURL(ctx, encrypted); (err == nil) != encrypted {
			t.Errorf("URL check, encrypted %v: %v", encrypted, err)
		}
	}
	c.talk(c.feishu)
	c.long(c.feishu, platform.Message{Chat: "oc_direct", User: "ou_1", Direct: true})
	if c.feishu.Signs() == 0 {
		t.Error("nobody was shown that the message was received")
	}
	c.feishu.ExpireTokens()
	if got := c.ask(ctx, c.feishu, platform.Message{Chat: "oc_token", User: "ou_1", Direct: true, Text: "after"}); got != "heard 1: after" {
		t.Errorf("with an expired token: %q", got)
	}
	if n := c.feishu.Issued(); n != 2 {
		t.Errorf("%d tokens were asked for, want 2", n)
	}
	c.clean()
}

// TestDingTalkRoundTrip is what users of DingTalk do, and see.
func TestDingTalkRoundTrip(t *testing.T) {
	t.Parallel() // it waits more than it works
	c := connect(t, shape{workers: 1, model: newParrot(t)}, platform.Options{})
	ctx := timeLimit(t)
	c.talk(c.ding)
	c.long(c.ding, platform.Message{Chat: "oc_direct", User: "ou_1", Direct: true})
	if c.ding.Calls(platform.OpSession) == 0 || c.ding.Calls(platform.OpDirect)+c.ding.Calls(platform.OpCreate) != 0 {
		t.Error("answers did not go to the session webhook")
	}
	c.ding.ExpireSessions(0)
	direct := platform.Message{Chat: "cid_direct2", User: "staff2", Direct: true, Text: "late"}
	if got := c.ask(ctx, c.ding, direct); got != "heard 1: late" || c.ding.Calls(platform.OpDirect) != 1 {
		t.Errorf("with an expired session: %q, %d messages by the robot", got, c.ding.Calls(platform.OpDirect))
	}
	group := platform.Message{Chat: "cid_group2", User: "staff2", Mention: true, Text: "late too"}
	if got := c.ask(ctx, c.ding, group); !strings.HasSuffix(got, ": late too") || c.ding.Calls(platform.OpCreate) != 1 {
		t.Errorf("in a group, with an expired session: %q, %d messages by the robot", got, c.ding.Calls(platform.OpCreate))
	}
	c.clean()
}

// talk is what both platforms have in common.
func (c *channels) talk(p platform.Platform) {
	t, ctx := c.t, timeLimit(c.t)
	direct := platform.Message{Chat: "oc_direct", User: "ou_1", Direct: true}
	says := func(m platform.Message, text, want string) {
		t.Helper()
		m.Text = text
		if got := c.ask(ctx, p, m); got != want {
			t.Errorf("%q is answered %q, want %q", text, got, want)
		}
	}
	says(direct, "hello", "heard 1: hello")
	says(direct, "again", "heard 2: again")

	// In a group only a mention is for the bot: what comes before it is not answered.
	group := platform.Message{Chat: "oc_group", User: "ou_2"}
	unheard := group
	unheard.Text = "not for you"
	in := p.Write(unheard)
	if err := p.Push(ctx, in); err != nil {
		t.Fatal(err)
	}
	group.Mention = true
	says(group, "for you", "heard 1: for you")

	// A kind that nobody can read is answered with a sentence, and asks no model. An
	// image is fetched from the platform for the model, which sees it.
	file := direct
	file.Kind, file.Text = "file", "报表.xlsx"
	if got := c.ask(ctx, p, file); got == "" || strings.HasPrefix(got, "heard") {
		t.Errorf("a file is answered %q", got)
	}
	image := direct
	image.Kind = "image"
	if got := c.ask(ctx, p, image); !strings.HasPrefix(got, "heard") || p.Calls(platform.OpImage) == 0 {
		t.Errorf("an image is answered %q, and was asked for %d times", got, p.Calls(platform.OpImage))
	}
	m := direct
	m.Text = "/new"
	if got := c.ask(ctx, p, m); strings.HasPrefix(got, "heard") {
		t.Errorf("/new went to the model: %q", got)
	}
	says(direct, "afresh", "heard 1: afresh")
}

var paragraph = regexp.MustCompile(`Paragraph (\d+)\.`)

// long wants an answer of many parts, all of them in order.
func (c *channels) long(p platform.Platform, m platform.Message) {
	c.t.Helper()
	m.Text = "a long one"
	ctx, in := timeLimit(c.t), p.Write(m)
	before := len(c.Shown(in.Platform, m.Chat))
	if err := p.Push(ctx, in); err != nil {
		c.t.Fatal(err)
	}
	last := fmt.Sprintf("Paragraph %d.", paragraphs-1)
	all := c.shown(ctx, in.Platform, m.Chat, func(all []platform.Shown) bool {
		return len(all) > before && strings.Contains(all[len(all)-1].Text, last)
	})[before:]
	if len(all) < 2 {
		c.t.Errorf("the long answer came in %d parts", len(all))
	}
	var got, keys []string
	for _, s := range all {
		for _, p := range paragraph.FindAllStringSubmatch(s.Text, -1) {
			got = append(got, p[1])
		}
		keys = append(keys, s.Key)
	}
	for i, n := range got {
		if n != fmt.Sprint(i) {
			c.t.Fatalf("paragraphs %v in %d parts", got, len(all))
		}
	}
	if len(got) != paragraphs {
		c.t.Errorf("%d paragraphs of %d", len(got), paragraphs)
	}
	if in.Platform == platform.Feishu {
		seen := map[string]bool{}
		for _, k := range keys {
			if seen[k] {
				c.t.Errorf("two parts have the uuid %s", k)
			}
			seen[k] = true
		}
	}
}

// TestPlatformFaults lets the platforms fail in every way that is not known to
// have shown anything: each answer is seen once all the same.
func TestPlatformFaults(t *testing.T) {
	t.Parallel() // it waits more than it works
	faults := []platform.Fault{
		{Delay: 300 * time.Millisecond},
		platform.JSON(http.StatusInternalServerError, `{"code":"system.error","message":"x"}`),
		platform.HTML(),
		platform.JSON(http.StatusOK, `{"code":99991400,"msg":"slow down"}`),
		platform.JSON(http.StatusTooManyRequests, `{"code":99991400,"msg":"slow down"}`),
		{Hang: true, Seen: true},
		{Reset: true, Seen: true},
	}
	c := connect(t, shape{workers: 1, model: newParrot(t), settings: killChannelSettings}, platform.Options{}, `received: "off"`)
	ctx := timeLimit(t)
	for i, f := range faults {
		c.feishu.Break(once(f))
		m := platform.Message{Chat: fmt.Sprint("oc_", i), User: fmt.Sprint("ou_", i), Direct: true, Text: "a"}
		in := c.feishu.Write(m)
		if err := c.feishu.Push(ctx, in); err != nil {
			t.Fatal(err)
		}
	}
	c.sent(ctx)
	for i, f := range faults {
		if got := c.Shown(platform.Feishu, fmt.Sprint("oc_", i)); len(got) != 1 {
			t.Errorf("fault %+v: shown %+v", f, got)
		}
	}
	c.clean()
}

// once is a fault of the next call that shows something.
func once(f platform.Fault) func(platform.Call) platform.Fault {
	left := make(chan platform.Fault, 1)
	left <- f
	return func(c platform.Call) platform.Fault {
		if !c.Sends() {
			return platform.Fault{}
		}
		select {
		case f := <-left:
			return f
		default:
			return platform.Fault{}
		}
	}
}
