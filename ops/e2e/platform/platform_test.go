package platform

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func number(text string) (int, bool) {
	_, n, found := strings.Cut(text, "#")
	i, err := strconv.Atoi(n)
	return i, found && err == nil
}

// The judge must find what it is there to find.
func TestLedgerFindsLostDoubledAndSwapped(t *testing.T) {
	l := &Ledger{}
	for n := range 5 {
		in := &Incoming{Message: Message{Chat: "c", Text: fmt.Sprint("a #", n)}, Platform: Feishu, ID: fmt.Sprint(n)}
		l.write(in)
		if n < 4 {
			l.acked(in)
		}
	}
	for _, text := range []string{"re #0", "re #2", "re #1", "re #1", "re #9", "sorry"} {
		l.show(Shown{Platform: Feishu, Chat: "c", Text: text})
	}
	v := l.Check(Feishu, number, number)
	if v.Acked != 4 || v.Answered != 3 || len(v.Lost) != 1 || v.Lost[0].Number != 3 || len(v.Doubled) != 1 || len(v.Swapped) != 1 || len(v.Odd) != 2 {
		t.Errorf("%+v", v)
	}
	if v := l.Check(DingTalk, number, number); v.Acked != 0 || len(v.Odd) != 0 {
		t.Errorf("the other platform: %+v", v)
	}
}

var feishuApp = FeishuApp{
	AppID: "cli_a", AppSecret: "secret-of-the-app", EncryptKey: "tEsT-encrypt-key-0123456789abcdef", VerificationToken: "vt-1", TenantKey: "tk", BotOpenID: "ou_bot",
}

func feishu(t *testing.T, o Options) *FeishuAPI {
	t.Helper()
	f, err := NewFeishu(feishuApp, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// call is one call as a client of the API makes it.
func call(t *testing.T, url, token string, body any) (status int, got map[string]any, err error) {
	t.Helper()
	b, _ := json.Marshal(body)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("Authorization", "Bearer "+token)
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	return res.StatusCode, got, json.NewDecoder(res.Body).Decode(&got)
}

func TestFeishuShowsARepeatedUUIDOnce(t *testing.T) {
	f := feishu(t, Options{})
	in := f.Write(Message{Chat: "oc_1", User: "ou_1", Direct: true, Text: "a #0"})
	_, got, err := call(t, f.URL()+"/open-apis/auth/v3/tenant_access_token/internal", "", map[string]string{"app_id": "cli_a", "app_secret": "secret-of-the-app"})
	token, _ := got["tenant_access_token"].(string)
	if err != nil || token == "" {
		t.Fatal(got, err)
	}
	reply := f.URL() + "/open-apis/im/v1/messages/" + in.ID + "/reply"
	q := map[string]any{"msg_type": "post", "content": `{"zh_cn":{"content":[[{"tag":"md","text":"re #0"}]]}}`, "uuid": "u1"}
	f.Break(func(c Call) Fault { return Fault{Seen: true, Reset: c.N == 1 && c.Op == OpReply} })
	if _, _, err := call(t, reply, token, q); err == nil {
		t.Fatal("the connection was not reset")
	}
	if status, got, err := call(t, reply, token, q); err != nil || status != http.StatusOK || got["code"] != 0.0 {
		t.Fatal(status, got, err)
	}
	if seen := f.Shown(Feishu, "oc_1"); len(seen) != 1 || seen[0].Text != "re #0" || seen[0].To != in.ID || len(f.Complaints()) != 0 {
		t.Errorf("%+v, complaints %q", seen, f.Complaints())
	}
	f.ExpireTokens()
	if status, got, _ := call(t, reply, token, q); status != http.StatusBadRequest || got["code"] != 99991663.0 {
		t.Error("an expired token:", status, got)
	}
}

func TestFeishuRefuses(t *testing.T) {
	f := feishu(t, Options{})
	in := f.Write(Message{Chat: "oc_1", User: "ou_1", Text: "a #0"})
	token, _ := f.get(feishuTokenNew)
	reply := "/open-apis/im/v1/messages/" + in.ID + "/reply"
	for _, q := range []struct {
		path string
		body map[string]any
	}{
		{reply, map[string]any{"msg_type": "text", "content": map[string]any{"text": "x"}, "uuid": "u"}}, // not encoded twice
		{reply, map[string]any{"msg_type": "text", "content": `{"text":""}`, "uuid": "u"}},
		{reply, map[string]any{"msg_type": "post", "content": `{"content":[]}`, "uuid": "u"}}, // no locale
		{reply, map[string]any{"msg_type": "text", "content": `{"text":"x"}`, "uuid": strings.Repeat("u", 51)}},
		{"/open-apis/im/v1/messages/om_other/reply", map[string]any{"msg_type": "text", "content": `{"text":"x"}`, "uuid": "u"}},
		{"/open-apis/im/v1/messages?receive_id_type=chat_id", map[string]any{"receive_id": "oc_2", "msg_type": "text", "content": `{"text":"x"}`, "uuid": "u"}},
	} {
		before := len(f.Complaints())
		if status, got, _ := call(t, f.URL()+q.path, token, q.body); status == http.StatusOK || len(f.Complaints()) == before {
			t.Errorf("%s %v was taken: %v", q.path, q.body, got)
		}
	}
	if seen := f.Shown(Feishu, ""); len(seen) != 0 {
		t.Errorf("shown: %+v", seen)
	}
}

func TestFeishuLimitsTheCallsOfAChat(t *testing.T) {
	f := feishu(t, Options{})
	in := f.Write(Message{Chat: "oc_1", User: "ou_1", Text: "a #0"})
	token, _ := f.get(feishuTokenNew)
	refused := 0
	for n := range feishuPerChat + 1 {
		status, _, _ := call(t, f.URL()+"/open-apis/im/v1/messages/"+in.ID+"/reply", token,
			map[string]any{"msg_type": "text", "content": `{"text":"x"}`, "uuid": fmt.Sprint(n)})
		if status != http.StatusOK {
			refused++
		}
	}
	if refused != 1 || f.Limited() != 1 {
		t.Errorf("refused %d, limited %d", refused, f.Limited())
	}
}

// A webhook that refuses and then accepts is called until it does, and what it is
// sent reads back by the published formula.
func TestFeishuPushes(t *testing.T) {
	var bodies [][]byte
	var headers []http.Header
	bot := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies, headers = append(bodies, body), append(headers, r.Header)
		if len(bodies) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer bot.Close()
	f := feishu(t, Options{Redeliver: []time.Duration{1, 1, 1}})
	f.Webhook(bot.URL)
	if err := f.Push(context.Background(), f.Write(Message{Chat: "oc_1", User: "ou_1", Text: "hello #7", Mention: true})); err != nil {
		t.Fatal(err)
	}
	if a := f.Acks(); len(bodies) != 3 || a.Count != 1 || a.Max == 0 || len(a.Bad) != 0 {
		t.Errorf("%d calls, %+v", len(bodies), a)
	}
	h := headers[2]
	sum := sha256.Sum256([]byte(h.Get("X-Lark-Request-Timestamp") + h.Get("X-Lark-Request-Nonce") + feishuApp.EncryptKey + string(bodies[2])))
	if h.Get("X-Lark-Signature") != hex.EncodeToString(sum[:]) || h.Get("X-Lark-Signature") != headers[0].Get("X-Lark-Signature") {
		t.Error("the signature is not that of the body, or not that of the first call")
	}
	var sealed struct{ Encrypt string }
	if err := json.Unmarshal(bodies[2], &sealed); err != nil {
		t.Fatal(err)
	}
	blob, _ := base64.StdEncoding.DecodeString(sealed.Encrypt)
	key := sha256.Sum256([]byte(feishuApp.EncryptKey))
	block, _ := aes.NewCipher(key[:])
	cipher.NewCBCDecrypter(block, blob[:16]).CryptBlocks(blob[16:], blob[16:])
	if !bytes.Contains(blob[16:], []byte(`@_user_1 hello #7`)) {
		t.Errorf("%q", blob[16:])
	}
	if v := f.Check(Feishu, number, number); v.Acked != 1 || len(v.Lost) != 1 {
		t.Errorf("%+v", v)
	}
}

func TestPushGivesUp(t *testing.T) {
	bot := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	defer bot.Close()
	d, err := NewDingTalk(DingTalkApp{ClientID: "ding", ClientSecret: "s", RobotCode: "r"}, Options{Redeliver: []time.Duration{1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	d.Webhook(bot.URL)
	in := d.Write(Message{Chat: "cid1", User: "u1", Direct: true, Text: "a #0"})
	if err := d.Push(context.Background(), in); err == nil || len(d.Acks().Bad) != 2 {
		t.Errorf("%v, %+v", err, d.Acks())
	}
	if v := d.Check(DingTalk, number, number); v.Acked != 0 || len(v.Lost) != 0 {
		t.Errorf("%+v", v)
	}
}

func TestDingTalkSessionWebhook(t *testing.T) {
	d, err := NewDingTalk(DingTalkApp{ClientID: "ding", ClientSecret: "s", RobotCode: "r"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	in := d.Write(Message{Chat: "cid1", User: "u1", Direct: true, Text: "a #0"})
	var body struct{ SessionWebhook string }
	if err := json.Unmarshal(in.body, &body); err != nil {
		t.Fatal(err)
	}
	post := func() any {
		_, got, err := call(t, body.SessionWebhook, "", map[string]any{"msgtype": "markdown", "markdown": map[string]any{"title": "t", "text": "re #0"}})
		if err != nil {
			t.Fatal(err)
		}
		return got["errcode"]
	}
	if code := post(); code != 0.0 || len(d.Complaints()) != 1 { // call sends an Authorization
		t.Errorf("errcode %v, complaints %q", code, d.Complaints())
	}
	d.ExpireSessions(time.Hour)
	if code := post(); code != 300001.0 {
		t.Errorf("expired: errcode %v", code)
	}
	if seen := d.Shown(DingTalk, "cid1"); len(seen) != 1 || seen[0].To != in.ID {
		t.Errorf("%+v", seen)
	}
}
