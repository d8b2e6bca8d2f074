package ingress_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
	"moltbot/ingress"
	"moltbot/ingress/dingtalk"
	"moltbot/ingress/feishu"
	"moltbot/ingress/im"
)

const (
	feishuKey      = "encrypt-key-of-tests-CANARY"
	feishuToken    = "verification-token-CANARY"
	feishuApp      = "cli_app"
	dingtalkSecret = "client-secret-of-tests-CANARY"
	botID          = "ou_bot"
)

// apps are one application of each platform without a name, and one of Feishu with.
func apps(t testing.TB, p ingress.ChannelPolicy) []ingress.ChannelApp {
	t.Helper()
	var all []ingress.ChannelApp
	for _, name := range []string{contracts.DefaultApp, "second"} {
		w, err := feishu.New(feishu.Options{
			Identity:   feishu.Identity{App: name, AppID: feishuApp, TenantKey: "t1", BotOpenID: func() string { return botID }},
			EncryptKey: feishuKey, VerificationToken: feishuToken,
		})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ingress.ChannelApp{Channel: contracts.ChannelFeishu, Name: name, Webhook: w, Policy: p})
	}
	d, err := dingtalk.New(dingtalk.Options{
		Identity: dingtalk.Identity{App: contracts.DefaultApp, RobotCode: "robot1", CorpID: "corp1"}, ClientSecret: dingtalkSecret,
	})
	if err != nil {
		t.Fatal(err)
	}
	return append(all, ingress.ChannelApp{Channel: contracts.ChannelDingTalk, Name: contracts.DefaultApp, Webhook: d, Policy: p})
}

func withApps(t testing.TB, p ingress.ChannelPolicy) func(*ingress.Options) {
	t.Helper()
	all := apps(t, p)
	return func(o *ingress.Options) { o.Apps = all }
}

func mentionPolicy() ingress.ChannelPolicy {
	return ingress.ChannelPolicy{Scope: ingress.ScopeChat, Groups: ingress.GroupsMention}
}

func newAppRig(t testing.TB, change ...func(*ingress.Options)) *rig {
	t.Helper()
	r := newBareRig(t)
	r.makeStream(jetstream.StreamConfig{})
	r.makeSend()
	r.run(append([]func(*ingress.Options){withApps(t, mentionPolicy())}, change...)...)
	return r
}

func (r *rig) makeSend() {
	r.t.Helper()
	c := jetstream.StreamConfig{Name: contracts.StreamSend, Subjects: []string{contracts.SubjectsSend}, Discard: jetstream.DiscardNew}
	if _, err := r.js.CreateOrUpdateStream(r.t.Context(), c); err != nil {
		r.t.Fatal(err)
	}
}

// encrypt seals an event as Feishu does.
func encrypt(t testing.TB, plain string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(feishuKey))
	block, err := aes.NewCipher(sum[:])
	if err != nil {
		t.Fatal(err)
	}
	n := aes.BlockSize - len(plain)%aes.BlockSize
	blob := append([]byte("initial vector 1"), plain...)
	for range n {
		blob = append(blob, byte(n))
	}
	cipher.NewCBCEncrypter(block, blob[:aes.BlockSize]).CryptBlocks(blob[aes.BlockSize:], blob[aes.BlockSize:])
	return `{"encrypt":"` + base64.StdEncoding.EncodeToString(blob) + `"}`
}

// feishuSigned gives the headers of a callback, signed now.
func (r *rig) feishuSigned(body string) []string {
	ts := strconv.FormatInt(r.clock.now().Unix(), 10)
	return []string{
		"Authorization:", "X-Lark-Request-Timestamp: " + ts, "X-Lark-Request-Nonce: nonce",
		"X-Lark-Signature: " + feishu.Sign(ts, "nonce", feishuKey, []byte(body)),
	}
}

func (r *rig) dingtalkSigned() []string {
	ts := strconv.FormatInt(r.clock.now().UnixMilli(), 10)
	return []string{"Authorization:", "timestamp: " + ts, "sign: " + dingtalk.Sign(ts, []byte(dingtalkSecret))}
}

// feishuPost sends an event in the platform's way.
func (r *rig) feishuPost(plain string) response {
	r.t.Helper()
	body := encrypt(r.t, plain)
	return r.call(http.MethodPost, "/feishu/webhook", body, r.feishuSigned(body)...)
}

func (r *rig) dingtalkPost(body string) response {
	r.t.Helper()
	return r.call(http.MethodPost, "/dingtalk/webhook", body, r.dingtalkSigned()...)
}

// feishuEvent is an event with any inner part. replace changes texts in it, in pairs.
func (r *rig) feishuEvent(kind, inner string, replace ...string) string {
	plain := `{"schema":"2.0","header":{"event_id":"event1","event_type":"` + kind + `","create_time":"` + r.millis() + `","token":"` + feishuToken +
		`","app_id":"` + feishuApp + `","tenant_key":"t1"},"event":` + inner + `}`
	return strings.NewReplacer(replace...).Replace(plain)
}

func (r *rig) millis() string { return strconv.FormatInt(r.clock.now().UnixMilli(), 10) }

// feishuText is a text to the bot in a direct chat.
func (r *rig) feishuText(id, text string, replace ...string) string {
	inner, _ := json.Marshal(map[string]string{"text": text})
	content, _ := json.Marshal(string(inner))
	return r.feishuEvent("im.message.receive_v1", `{"sender":{"sender_id":{"open_id":"ou_ann"},"sender_type":"user","tenant_key":"t1"},
	 "message":{"message_id":"`+id+`","create_time":"`+r.millis()+`","chat_id":"oc_1","chat_type":"p2p","message_type":"text","content":`+string(content)+`}}`, replace...)
}

// dingtalkText is a text to the robot in a direct chat.
func (r *rig) dingtalkText(id, text string, replace ...string) string {
	content, _ := json.Marshal(text)
	body := `{"msgId":"` + id + `","msgtype":"text","conversationType":"1","conversationId":"cid1","senderStaffId":"ann","senderId":"$:ann",` +
		`"robotCode":"robot1","chatbotCorpId":"corp1","createAt":` + r.millis() + `,"sessionWebhook":"https://oapi.dingtalk.com/robot/sendBySession?session=CANARY",` +
		`"sessionWebhookExpiredTime":` + r.millis() + `,"text":{"content":` + string(content) + `}}`
	return strings.NewReplacer(replace...).Replace(body)
}

// last opens the newest message of CHAT.
func (r *rig) last() contracts.Message {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), contracts.StreamChat)
	if err != nil {
		r.t.Fatal(err)
	}
	raw, err := s.GetMsg(r.t.Context(), s.CachedInfo().State.LastSeq)
	if err != nil {
		r.t.Fatal(err)
	}
	letter, err := contracts.DecodeLetter(raw.Data)
	if err != nil {
		r.t.Fatal(err)
	}
	m, err := letter.Open(place{})
	if err != nil {
		r.t.Fatal(err)
	}
	if id := raw.Header.Get(jetstream.MsgIDHeader); id != m.ID || raw.Subject != contracts.SubjectChat(m.Conversation) {
		r.t.Errorf("%s on %s, id %s", m.ID, raw.Subject, id)
	}
	return m
}

// took gives a message to takeEvent, as a long connection does.
func (r *rig) took(app ingress.ChannelApp, m im.Incoming) error {
	return r.in.TakeEvent(context.Background(), &app, im.Event{Kind: im.KindMessage, Messages: []im.Incoming{m}})
}

func anApp(p ingress.ChannelPolicy) ingress.ChannelApp {
	return ingress.ChannelApp{Channel: contracts.ChannelFeishu, Name: contracts.DefaultApp, Policy: p}
}

// anIncoming is a message in a group that mentions the bot.
func (r *rig) anIncoming(id, text string) im.Incoming {
	return im.Incoming{Origin: contracts.Origin{MessageID: id, At: r.clock.now(), Chat: "oc_g", Sender: "ou_ann"}, Text: text, Mentioned: true}
}
