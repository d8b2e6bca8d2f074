package ingress_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
	"moltbot/ingress"
	"moltbot/ingress/im"
)

// W28 and the policy: who is answered where. What is not is logged once where an
// operator may ask for it, and never with what was said.
func TestPolicy(t *testing.T) {
	r := newAppRig(t)
	mention, all := mentionPolicy(), ingress.ChannelPolicy{Groups: ingress.GroupsAll}
	off := ingress.ChannelPolicy{Groups: ingress.GroupsOff}
	atAll := ingress.ChannelPolicy{Groups: ingress.GroupsMention, AtAll: true}
	chats, users := mention, mention
	chats.AllowChats, users.AllowUsers = []string{"oc_other", "oc_g"}, []string{"ou_ann"}
	no := func(*im.Incoming) {}
	said := func(m *im.Incoming) { m.Mentioned = false }
	everyone := func(m *im.Incoming) { m.Mentioned, m.AtAll = false, true }
	direct := func(m *im.Incoming) { m.Mentioned, m.Direct = false, true }
	chat := func(m *im.Incoming) { m.Chat = "oc_x" }
	user := func(m *im.Incoming) { m.Sender = "ou_x" }
	privately := func(m *im.Incoming) { m.Chat, m.Direct = "oc_p2p", true }
	alien := func(m *im.Incoming) { m.Sender, m.Chat, m.Direct = "ou_x", "oc_p2p", true }
	nobody := func(m *im.Incoming) { m.Sender, m.Stranger = "", "$:x" }
	outsider := func(m *im.Incoming) { m.Outsider = true }
	robot := func(m *im.Incoming) { m.FromBot, m.Direct = true, true }
	for i, c := range []struct {
		p       ingress.ChannelPolicy
		change  func(*im.Incoming)
		taken   bool
		audited bool
	}{
		{mention, no, true, false}, {mention, said, false, false}, {mention, everyone, false, false}, {mention, direct, true, false},
		{atAll, everyone, true, false}, {atAll, said, false, false}, {all, said, true, false}, {all, everyone, true, false},
		{off, no, false, true}, {off, direct, true, false}, {chats, no, true, false}, {chats, chat, false, true},
		{chats, privately, true, false}, {users, alien, false, true},
		{users, no, true, false}, {users, user, false, true}, {users, nobody, false, true}, {mention, nobody, true, false},
		{mention, outsider, false, true}, {all, robot, false, false},
	} {
		before, lines := r.stored(), infos(r)
		m := r.anIncoming(fmt.Sprint("om_", i), "CANARY")
		c.change(&m)
		if err := r.took(anApp(c.p), m); err != nil {
			t.Fatal(err)
		}
		audits := infos(r) - lines
		if taken := r.stored() > before; taken != c.taken || (audits == 1) != (c.audited || c.taken) {
			t.Errorf("%d: taken %v, %d lines", i, taken, audits)
		}
	}
}

// infos counts what an operator reads of messages of chats.
func infos(r *rig) (n int) {
	for line := range strings.Lines(r.logs.String()) {
		if strings.Contains(line, `"level":"info"`) && strings.Contains(line, "message of a chat") {
			n++
		}
	}
	return n
}

// Who shares a conversation.
func TestScopes(t *testing.T) {
	r := newAppRig(t)
	conversation := func(scope ingress.Scope, change func(*im.Incoming)) string {
		t.Helper()
		m := r.anIncoming(fmt.Sprint("om_", r.stored()), "hi")
		change(&m)
		p := mentionPolicy()
		p.Scope = scope
		if err := r.took(anApp(p), m); err != nil {
			t.Fatal(err)
		}
		return r.last().Conversation
	}
	no := func(*im.Incoming) {}
	bob := func(m *im.Incoming) { m.Sender = "ou_bob" }
	thread := func(m *im.Incoming) { m.Thread = "om_root" }
	root := func(m *im.Incoming) { m.MessageID = "om_root" }
	elsewhere := func(m *im.Incoming) { m.Chat = "oc_h" }
	direct := func(m *im.Incoming) { m.Direct, m.Thread = true, "om_root" }
	type change = func(*im.Incoming)
	for _, c := range []struct {
		scope ingress.Scope
		a, b  change
		same  bool
	}{
		{ingress.ScopeChat, no, bob, true}, {ingress.ScopeChat, no, thread, true}, {ingress.ScopeChat, no, elsewhere, false},
		{ingress.ScopeUserInChat, no, bob, false}, {ingress.ScopeUserInChat, no, no, true}, {ingress.ScopeUserInChat, no, elsewhere, false},
		{ingress.ScopeThread, thread, bob, false}, {ingress.ScopeThread, thread, root, true},
		{ingress.ScopeThread, thread, func(m *im.Incoming) { thread(m); bob(m) }, true},
		{ingress.ScopeThread, no, no, false}, {ingress.ScopeThread, direct, direct, true},
		{ingress.ScopeThread, direct, func(m *im.Incoming) { m.Direct = true }, true},
	} {
		if same := conversation(c.scope, c.a) == conversation(c.scope, c.b); same != c.same {
			t.Errorf("%+v", c)
		}
	}
}

// What no model is asked for is answered with a sentence.
func TestSentences(t *testing.T) {
	r := newAppRig(t, func(o *ingress.Options) { o.MaxChars = 5 })
	image := []contracts.Image{{Channel: contracts.ChannelFeishu, App: "default", MessageID: "om", Key: "k"}}
	for name, c := range map[string]struct {
		m         im.Incoming
		text, say string
		images    int
	}{
		"text":            {im.Incoming{Text: "hi\u200b\x07"}, "hi", "", 0},
		"file":            {im.Incoming{Unread: "file"}, "", "文件", 0},
		"unknown":         {im.Incoming{Unread: "new"}, "", "这类消息", 0},
		"quota":           {im.Incoming{Unread: "quota"}, "", "额度", 0},
		"long":            {im.Incoming{Text: "一二三四五六"}, "", "6 个字符", 0},
		"long English":    {im.Incoming{Text: "abcdef"}, "", "6 characters, and I read at most 5", 0},
		"empty":           {im.Incoming{Text: " \u200b "}, "", "写下您的问题", 0},
		"image":           {im.Incoming{Images: image}, "", "", 1},
		"image with text": {im.Incoming{Images: image, Text: "hi"}, "hi", "", 1},
	} {
		m := r.anIncoming("om_"+name, c.m.Text)
		m.Unread, m.Images = c.m.Unread, c.m.Images
		if err := r.took(anApp(mentionPolicy()), m); err != nil {
			t.Fatal(err)
		}
		got := r.last()
		if got.Text != c.text || !strings.Contains(got.Say, c.say) || (got.Say == "") != (c.say == "") || len(got.Images) != c.images || got.Origin == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Whom DingTalk does not name is somebody all the same, and the same one each time.
func TestStrangers(t *testing.T) {
	r := newAppRig(t)
	callers := map[string]bool{}
	for i, who := range []string{"$:x", "$:x", "$:y"} {
		r.dingtalkPost(r.dingtalkText(fmt.Sprint("m", i), "hi", `"ann"`, `""`, "$:ann", who))
		m := r.last()
		callers[m.Caller] = true
		if m.Origin.Sender != "" || !strings.HasPrefix(m.Caller, "dingtalk:~") || strings.Contains(m.Caller, "$") {
			t.Errorf("%+v", m)
		}
	}
	if len(callers) != 2 || r.stored() != 3 {
		t.Errorf("%v", callers)
	}
}

// A chat that is full is answered once, without a worker, and the platform hears 200.
func TestFullConversationIsRefusedPolitely(t *testing.T) {
	r := newAppRig(t)
	r.makeStream(jetstream.StreamConfig{MaxMsgsPerSubject: 1, DiscardNewPerSubject: true})
	r.feishuPost(r.feishuText("om_1", "hi"))
	plain := r.feishuText("om_2", "太多了")
	for range 2 {
		if res := r.feishuPost(plain); res.status != 200 || res.body != `{"msg":"success"}` {
			t.Fatalf("%d %s", res.status, res.body)
		}
	}
	s, err := r.js.Stream(t.Context(), contracts.StreamSend)
	if err != nil || s.CachedInfo().State.Msgs != 1 || r.stored() != 1 {
		t.Fatalf("%v, %d refusals, %d stored", err, s.CachedInfo().State.Msgs, r.stored())
	}
	raw, err := s.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	o, err := contracts.DecodeOutgoing(raw.Data)
	if err != nil {
		t.Fatal(err)
	}
	data, err := place{}.Open(o.Data, contracts.KindSend, o.Conversation, o.ID)
	if err != nil {
		t.Fatal(err)
	}
	a, err := contracts.DecodeAnswer(data)
	if err != nil || a.ID != o.ID || a.Origin == nil || a.Origin.MessageID != "om_2" || !strings.Contains(a.Text, "太多") ||
		a.Result.Code != contracts.CodeConversationFull || a.Caller != "feishu:ou_ann" {
		t.Errorf("%v, %+v", err, a)
	}
	if raw.Subject != contracts.SubjectSend(contracts.ChannelFeishu, o.Conversation) || raw.Header.Get(jetstream.MsgIDHeader) != o.ID {
		t.Errorf("%s, %v", raw.Subject, raw.Header)
	}
	// Where not even the refusal is stored, the platform is to call again.
	if err := r.js.DeleteStream(t.Context(), contracts.StreamSend); err != nil {
		t.Fatal(err)
	}
	problem(t, r.feishuPost(r.feishuText("om_3", "hi")), contracts.CodeQueueDown)
}

// A command to stop stops what came before it, once: when the platform repeats it
// later, what was written since goes on.
func TestStopFromAChat(t *testing.T) {
	s := &stopper{life: 7}
	r := newAppRig(t, func(o *ingress.Options) { o.Stopper = s })
	cancels := r.cancels()
	plain := r.feishuText("om_1", "/停止")
	r.feishuPost(plain)
	m := r.last()
	if c := await(t, "the cancel", cancels); c.ID != m.ID || c.Before != 1 || len(s.took()) != 1 {
		t.Errorf("%+v", c)
	}
	r.store.park(contracts.Result{ID: m.ID, Reply: "ok", At: m.Accepted})
	if res := r.feishuPost(plain); res.status != 200 || len(s.took()) != 0 || r.stored() != 1 {
		t.Errorf("%d %s, %d stored", res.status, res.body, r.stored())
	}
	if r.feishuPost(r.feishuText("om_2", "hi")); len(s.took()) != 0 {
		t.Error("a message stops")
	}
}

// An event of version 1.0 does not say when its message was sent.
func TestVagueTimes(t *testing.T) {
	r := newAppRig(t)
	m := r.anIncoming("om_1", "hi")
	m.Vague = true
	for range 2 {
		if err := r.took(anApp(mentionPolicy()), m); err != nil {
			t.Fatal(err)
		}
		m.At = m.At.Add(time.Second)
	}
	if r.stored() != 1 {
		t.Errorf("%d stored", r.stored())
	}
	r.store.onClaim = func(ctx context.Context) {
		if until, ok := ctx.Deadline(); !ok || time.Until(until) > time.Second {
			t.Error("a Redis that hangs would hold the callback back")
		}
	}
	r.store.failing(true)
	m.MessageID = "om_2"
	if err := r.took(anApp(mentionPolicy()), m); contracts.Public(err).Code != contracts.CodeStoreDown {
		t.Errorf("%v", err)
	}
	m = r.anIncoming("om_3", "hi") // nothing else needs Redis
	if err := r.took(anApp(mentionPolicy()), m); err != nil {
		t.Error(err)
	}
	m.At = m.At.Add(48 * time.Hour)
	if err := r.took(anApp(mentionPolicy()), m); !errors.Is(err, im.ErrMalformed) {
		t.Errorf("from the day after tomorrow: %v", err)
	}
}

// Who has used up the day's tokens is told so; a command costs none.
func TestBudgetOfAChat(t *testing.T) {
	r := newAppRig(t, func(o *ingress.Options) { o.DailyTokens, o.Budget = 10, &spent{10} })
	for text, say := range map[string]string{"你好": "上限", "hello": "quota of today", "/help": ""} {
		if err := r.took(anApp(mentionPolicy()), r.anIncoming("om_"+text, text)); err != nil {
			t.Fatal(err)
		}
		m := r.last()
		if !strings.Contains(m.Say, say) || (m.Say == "") != (say == "") || (m.Text == "") != (say != "") {
			t.Errorf("%s: %+v", text, m)
		}
	}
}

// A click that is played again is the same message; another one is not.
func TestClicksAreStoredOnce(t *testing.T) {
	r := newAppRig(t)
	click := func(token string) string {
		return r.feishuEvent("card.action.trigger", `{"operator":{"open_id":"ou_ann","tenant_key":"t1"},"token":"`+token+
			`","action":{"value":{"message":"查一下"}},"context":{"open_message_id":"om_card","open_chat_id":"oc_1"}}`)
	}
	for _, token := range []string{"c-1", "c-1", "c-2"} {
		if res := r.feishuPost(click(token)); res.status != 200 || res.body != "{}" {
			t.Fatalf("%d %s", res.status, res.body)
		}
	}
	if m := r.last(); r.stored() != 2 || m.Text != "查一下" || m.Origin.MessageID != "om_card" || m.Caller != "feishu:ou_ann" {
		t.Errorf("%d stored, %+v", r.stored(), m)
	}
}
