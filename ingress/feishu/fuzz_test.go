package feishu

import (
	"bytes"
	"errors"
	"net/http"
	"testing"
	"unicode/utf8"

	"moltbot/ingress/im"
)

func known(err error) bool {
	return errors.Is(err, im.ErrSignature) || errors.Is(err, im.ErrForeign) || errors.Is(err, im.ErrMalformed)
}

// Nobody makes a header that passes without the key.
func FuzzHeader(f *testing.F) {
	w, raw := newWebhook(f), seal(f, key, message("text", `{"text":"hi"}`, ""))
	f.Add("1789200001", "n", "5b93073f456faafbc9ee191a0c83ba9b0475901c735c5c5845f91e626b8cbd35", raw)
	f.Add("", "", "", []byte(`{"encrypt":""}`))
	f.Fuzz(func(t *testing.T, ts, nonce, signature string, body []byte) {
		h := http.Header{headerTime: {ts}, headerNonce: {nonce}, headerSignature: {signature}}
		if _, err := w.Read(h, body, vectorTime()); !errors.Is(err, im.ErrSignature) {
			t.Errorf("%v", err)
		}
	})
}

// A body that is signed may hold anything.
func FuzzBody(f *testing.F) {
	w := newWebhook(f)
	f.Add(seal(f, key, message("text", `{"text":"hi"}`, "")))
	f.Add([]byte(`{"encrypt":"AQEBAQEBAQEBAQEBAQEBAQ=="}`))
	f.Add([]byte(` { "encrypt" : "\/" } `))
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := w.Read(sign(body, vectorTime()), body, vectorTime()); err != nil && !known(err) {
			t.Errorf("%v", err)
		}
		if text, ok := encrypted(body); ok && bytes.ContainsRune(text, '"') {
			t.Errorf("%q", text)
		}
	})
}

func FuzzOpen(f *testing.F) {
	d, err := newDecrypter(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("P37w+VZImNgPEO1RBhJ6RtKl7n6zymIbEG1pReEzghk="))
	f.Fuzz(func(t *testing.T, text []byte) {
		if plain, err := d.open(text); err == nil && len(plain) >= len(text) {
			t.Errorf("%d bytes of %d", len(plain), len(text))
		}
	})
}

func FuzzReadEvent(f *testing.F) {
	for name := range payloads() {
		f.Add([]byte(loadPayload(f, name).Plain.Body))
	}
	f.Add(card(`{"message":"x"}`, "c-1"))
	f.Add(message("post", `{"content":[[{"tag":"at","user_id":"@_user_1"},{"tag":"img","image_key":"k"}]]}`, mentions))
	f.Fuzz(func(t *testing.T, plain []byte) {
		e, err := ReadEvent(plain, identity())
		if err != nil && !known(err) {
			t.Fatalf("%v", err)
		}
		if err == nil && e.Kind == "" || err != nil && len(e.Messages) > 0 {
			t.Errorf("%v, %+v", err, e)
		}
		for i := range e.Messages {
			m := &e.Messages[i]
			if im.ID(m.MessageID) != nil || im.ID(m.Chat) != nil || im.ID(m.Sender) != nil && !m.FromBot || m.At.IsZero() || !utf8.ValidString(m.Text) {
				t.Errorf("%+v", m)
			}
		}
	})
}

func FuzzContent(f *testing.F) {
	f.Add("text", `{"text":"@_user_1 hi"}`, "@_user_1", "助手", bot)
	f.Add("post", `{"content":[[{"tag":"at","user_id":"@_user_1"}]]}`, "@_user_1", "@_all", "")
	f.Fuzz(func(t *testing.T, kind, text, name, shown, open string) {
		c := content{mentions: []mention{{Key: name, Name: shown, ID: userID{OpenID: open}, Type: botMention}}, bot: bot}
		var m im.Incoming
		if err := c.read(&m, kind, text); err != nil && !known(err) {
			t.Errorf("%v", err)
		}
	})
}

func FuzzOldText(f *testing.F) {
	f.Add(`<at open_id="` + bot + `">@助手</at> hi <at user_id="all">x</at>`)
	f.Fuzz(func(t *testing.T, text string) {
		var m im.Incoming
		if out := oldText(&m, text, bot); len(out) > len(text)+len(everybody)*len(text) {
			t.Errorf("%d bytes of %d", len(out), len(text))
		}
	})
}
