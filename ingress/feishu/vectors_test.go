package feishu

import (
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/ingress/im"
)

func TestEncryptVectors(t *testing.T) {
	var file struct {
		Vectors []struct {
			Name    string `json:"name"`
			Key     string `json:"encrypt_key"`
			Plain   string `json:"plaintext"`
			Encrypt string `json:"encrypt"`
		} `json:"vectors"`
		Negative []struct {
			Name    string `json:"name"`
			Key     string `json:"encrypt_key"`
			Encrypt string `json:"encrypt"`
		} `json:"negative"`
	}
	load(t, "feishu-encrypt.json", &file)
	for _, v := range file.Vectors {
		d, err := newDecrypter(v.Key)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := d.open([]byte(v.Encrypt))
		if err != nil || string(plain) != v.Plain {
			t.Errorf("%s: %q, %v", v.Name, plain, err)
		}
	}
	for _, v := range file.Negative {
		w := newWebhook(t, func(o *Options) { o.EncryptKey = v.Key })
		raw := []byte(`{"encrypt":"` + v.Encrypt + `"}`)
		h := http.Header{}
		h.Set(headerTime, "1789200001")
		h.Set(headerNonce, "n")
		h.Set(headerSignature, Sign("1789200001", "n", v.Key, raw))
		if _, err := w.Read(h, raw, vectorTime()); !errors.Is(err, im.ErrSignature) && !errors.Is(err, im.ErrMalformed) {
			t.Errorf("%s: %v", v.Name, err)
		}
	}
	if len(file.Vectors) < 14 || len(file.Negative) < 4 {
		t.Errorf("%d and %d vectors", len(file.Vectors), len(file.Negative))
	}
}

func TestSignatureVectors(t *testing.T) {
	var file struct {
		Vectors []struct {
			Name      string `json:"name"`
			Scheme    string `json:"scheme"`
			Key       string `json:"encrypt_key"`
			Token     string `json:"verification_token"`
			Timestamp string `json:"timestamp"`
			Nonce     string `json:"nonce"`
			Body      string `json:"raw_body_base64"`
			Signature string `json:"signature"`
			Valid     bool   `json:"valid"`
		} `json:"vectors"`
	}
	load(t, "feishu-signature.json", &file)
	for _, v := range file.Vectors {
		raw, err := base64.StdEncoding.DecodeString(v.Body)
		if err != nil {
			t.Fatal(err)
		}
		h := http.Header{}
		h.Set(headerTime, v.Timestamp)
		h.Set(headerNonce, v.Nonce)
		h.Set(headerSignature, v.Signature)
		if v.Scheme == "card-v1-sha1" {
			w := newWebhook(t, func(o *Options) { o.VerificationToken = v.Token })
			if e, err := w.Read(h, raw, vectorTime()); (err == nil) != v.Valid || v.Valid && e.Kind != im.KindCard {
				t.Errorf("%s: %v", v.Name, err)
			}
			continue
		}
		w := newWebhook(t, func(o *Options) { o.EncryptKey = v.Key })
		if w.verify(h, raw) != v.Valid {
			t.Errorf("%s: want %v", v.Name, v.Valid)
		}
		_, err = w.Read(h, raw, vectorTime())
		if !v.Valid && !errors.Is(err, im.ErrSignature) {
			t.Errorf("%s: %v", v.Name, err)
		}
	}
	if len(file.Vectors) < 14 {
		t.Errorf("%d vectors", len(file.Vectors))
	}
}

// want is what a payload must become.
type want struct {
	message im.Incoming
	kind    string
}

func incoming(id, chat string, at int64, m im.Incoming) want {
	m.Origin = contracts.Origin{
		App: contracts.DefaultApp, MessageID: id, At: time.UnixMilli(at).UTC(), Chat: chat, Direct: chat == direct,
		Sender: sender, Tenant: tenant,
	}
	for i := range m.Images {
		m.Images[i] = contracts.Image{Channel: contracts.ChannelFeishu, App: contracts.DefaultApp, MessageID: id, Key: m.Images[i].Key}
	}
	return want{message: m, kind: im.KindMessage}
}

func payloads() map[string]want {
	old := incoming("om_abab0008abab0008abab0008abab0008", group, 1789200421000, im.Incoming{Text: "你好", Mentioned: true, Vague: true})
	return map[string]want{
		"feishu-p2p-text": incoming("om_aaaa0001aaaa0001aaaa0001aaaa0001", direct, 1789200000640,
			im.Incoming{Text: "你好，帮我查一下昨天的 \"GPU\" 用量\n谢谢 😀 <b>&</b>"}),
		"feishu-group-text-at-bot": incoming("om_bbbb0002bbbb0002bbbb0002bbbb0002", group, 1789200060712,
			im.Incoming{Text: "请通知 @李四 部署完成了", Mentioned: true}),
		"feishu-p2p-image": incoming("om_eeee0005eeee0005eeee0005eeee0005", direct, 1789200240111,
			im.Incoming{Images: []contracts.Image{{Key: "img_v3_0001_made-up-key"}}}),
		"feishu-p2p-file":         incoming("om_ffff0006ffff0006ffff0006ffff0006", direct, 1789200300222, im.Incoming{Unread: "file"}),
		"feishu-v1-message-event": old,
	}
}

func TestPayloads(t *testing.T) {
	for name, want := range payloads() {
		p := loadPayload(t, name)
		w := newWebhook(t)
		e, err := w.Read(p.Encrypted.Request.header(), []byte(p.Encrypted.Request.Body), vectorTime())
		check(t, name+", encrypted", e, err, want)
		who := identity()
		e, err = ReadEvent([]byte(p.Plain.Body), who)
		check(t, name+", plain", e, err, want)
		who.Token = p.App.Token
		e, err = ReadEvent([]byte(p.Plain.Body), who)
		check(t, name+", plain with a token", e, err, want)
		who.Token = "another"
		if _, err = ReadEvent([]byte(p.Plain.Body), who); !errors.Is(err, im.ErrSignature) {
			t.Errorf("%s with another token: %v", name, err)
		}
		// There is no plain mode of callbacks.
		for _, h := range []http.Header{{}, sign([]byte(p.Plain.Body), vectorTime())} {
			if _, err = w.Read(h, []byte(p.Plain.Body), vectorTime()); !errors.Is(err, im.ErrSignature) {
				t.Errorf("%s in the clear: %v", name, err)
			}
		}
	}
}

func check(t *testing.T, name string, e im.Event, err error, want want) {
	t.Helper()
	if err != nil || e.Kind != want.kind || len(e.Messages) != 1 || len(e.Body) != 0 {
		t.Errorf("%s: %v, %+v", name, err, e)
		return
	}
	got := e.Messages[0]
	if !slices.Equal(got.Images, want.message.Images) {
		t.Errorf("%s: images %v", name, got.Images)
	}
	got.Images, want.message.Images = nil, nil
	if !equal(got, want.message) {
		t.Errorf("%s:\n%+v, want\n%+v", name, got, want.message)
	}
}

func equal(a, b im.Incoming) bool {
	return a.Origin == b.Origin && a.Text == b.Text && a.Unread == b.Unread && a.Mentioned == b.Mentioned && a.AtAll == b.AtAll &&
		a.FromBot == b.FromBot && a.Outsider == b.Outsider && a.Vague == b.Vague && a.Unique == b.Unique
}

// The events that are only among the ciphertexts.
func TestEncryptedEvents(t *testing.T) {
	var file struct {
		Vectors []struct {
			Name  string `json:"name"`
			Plain string `json:"plaintext"`
		} `json:"vectors"`
	}
	load(t, "feishu-encrypt.json", &file)
	plain := map[string]string{}
	for _, v := range file.Vectors {
		plain[v.Name] = v.Plain
	}
	all := readOne(t, []byte(plain["feishu-group-text-at-all"]))
	if !all.AtAll || all.Mentioned || all.Text != "@所有人 今晚维护" {
		t.Errorf("@all: %+v", all)
	}
	if m := readOne(t, []byte(plain["feishu-group-text-from-bot"])); !m.FromBot || !m.Mentioned {
		t.Errorf("of a bot: %+v", m)
	}
	post := readOne(t, []byte(plain["feishu-group-post-at-bot"]))
	text := "发布单\n@助手 看下这个 [链接](https://example.com/r/1)\n```go\nfmt.Println(\"hi\")\n```"
	if post.Text != text || !post.Mentioned || len(post.Images) != 1 || post.Images[0].Key != "img_v3_0000_made-up-key" {
		t.Errorf("post: %+v", post)
	}
}

func TestCardVector(t *testing.T) {
	p := loadPayload(t, "feishu-card-action-trigger")
	e, err := newWebhook(t).Read(p.Encrypted.Request.header(), []byte(p.Encrypted.Request.Body), vectorTime())
	if err != nil || e.Kind != im.KindCard || len(e.Messages) != 0 {
		t.Errorf("%v, %+v", err, e)
	}
	if e, err = ReadEvent([]byte(p.Plain.Body), identity()); err != nil || e.Kind != im.KindCard {
		t.Errorf("plain: %v, %+v", err, e)
	}
}

func TestChallengeVectors(t *testing.T) {
	w := newWebhook(t)
	p := loadPayload(t, "feishu-url-verification-encrypted")
	e, err := w.Read(p.Request.header(), []byte(p.Request.Body), vectorTime())
	if err != nil || e.Kind != im.KindChallenge || string(e.Body) != p.Response.Body || len(e.Messages) != 0 {
		t.Errorf("%v, %+v", err, e)
	}
	plain := loadPayload(t, "feishu-url-verification-plain")
	if _, err = w.Read(plain.Request.header(), []byte(plain.Request.Body), vectorTime()); !errors.Is(err, im.ErrSignature) {
		t.Errorf("in the clear though there is an Encrypt Key: %v", err)
	}
	who := identity()
	who.Token = token
	if e, err = ReadEvent([]byte(plain.Request.Body), who); err != nil || string(e.Body) != plain.Response.Body {
		t.Errorf("plain: %v, %s", err, e.Body)
	}
}

// W10: the window is as long as a repeated callback is recognized.
func TestTimeOfASignature(t *testing.T) {
	w, now := newWebhook(t), vectorTime()
	raw := seal(t, key, event("x", "{}"))
	for text, good := range map[string]bool{
		"0": true, "86400": true, "86401": false, "-300": true, "-301": false,
	} {
		age, _ := strconv.Atoi(text)
		_, err := w.Read(sign(raw, now.Add(-time.Duration(age)*time.Second)), raw, now)
		if (err == nil) != good || err != nil && !errors.Is(err, im.ErrSignature) {
			t.Errorf("age %s s: %v", text, err)
		}
	}
	for ts, good := range map[string]bool{
		"1789200001": true, "1789200001000": true, "": false, "-1789200001": false, "+1789200001": false, "01789200001": false,
		" 1789200001": false, "1789200001.5": false, "178920000100000000000000000000": false, "now": false, "17892000010": false,
	} {
		h := http.Header{headerTime: {ts}, headerNonce: {"n"}, headerSignature: {Sign(ts, "n", key, raw)}}
		if _, err := w.Read(h, raw, now); (err == nil) != good {
			t.Errorf("%q: %v", ts, err)
		}
		if err := w.Check(h, now); (err == nil) != good {
			t.Errorf("check of %q: %v", ts, err)
		}
	}
}
