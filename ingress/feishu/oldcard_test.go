package feishu

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"moltbot/ingress/im"
)

const oldClicked = `{"open_id":"` + sender + `","user_id":"d3a1b2c3","open_message_id":"om_1","open_chat_id":"` + group + `","tenant_key":"` + tenant +
	`","token":"c-1","action":{"value":{"message":"approve"},"tag":"button"}}`

func signOld(body, token string) http.Header {
	return http.Header{headerTime: {"1789200600"}, headerNonce: {"n0nce"}, headerSignature: {SignOldCard("1789200600", "n0nce", token, []byte(body))}}
}

func TestOldCard(t *testing.T) {
	w, now := newWebhook(t), vectorTime()
	e, err := w.Read(signOld(oldClicked, token), []byte(oldClicked), now)
	if err != nil || e.Kind != im.KindCard || string(e.Body) != "{}" || len(e.Messages) != 1 {
		t.Fatalf("%v, %+v", err, e)
	}
	m := e.Messages[0]
	if m.Text != "approve" || m.Unique != "c-1" || m.MessageID != "om_1" || m.Chat != group || m.Sender != sender || !m.Vague || !m.Mentioned || m.At.Unix() != 1789200600 {
		t.Errorf("%+v", m)
	}
	without := strings.Replace(oldClicked, `"open_chat_id":"`+group+`",`, "", 1)
	if e, err = w.Read(signOld(without, token), []byte(without), now); err != nil || len(e.Messages) != 0 || !strings.Contains(string(e.Body), "toast") {
		t.Errorf("without a chat: %v, %+v", err, e)
	}
	change := func(old, text string) string { return strings.Replace(oldClicked, old, text, 1) }
	for name, c := range map[string]struct {
		body, key string
		at        time.Time
		want      error
	}{
		"another token": {oldClicked, "another", now, im.ErrSignature}, "the Encrypt Key": {oldClicked, key, now, im.ErrSignature},
		"old": {oldClicked, token, now.Add(25 * time.Hour), im.ErrSignature}, "of the future": {oldClicked, token, now.Add(-6 * time.Minute), im.ErrSignature},
		"blank click":    {change(`"c-1"`, `" "`), token, now, im.ErrSignature},
		"another tenant": {change(tenant, "x"), token, now, im.ErrForeign},
		"no action":      {change(`"action"`, `"x"`), token, now, im.ErrMalformed},
		"action of text": {change(`{"value":{"message":"approve"},"tag":"button"}`, `"x"`), token, now, im.ErrMalformed},
		"no JSON":        {"x", token, now, im.ErrMalformed},
		// The token alone lets nothing in but a click.
		"an event": {string(message("text", `{"text":"hi"}`, "")), token, now, im.ErrSignature}, "a ciphertext": {string(seal(t, key, message("text", `{"text":"hi"}`, ""))), token, now, im.ErrSignature},
		"a check": {`{"type":"url_verification","token":"` + token + `","challenge":"c"}`, token, now, im.ErrSignature},
	} {
		if e, err := w.Read(signOld(c.body, c.key), []byte(c.body), c.at); !errors.Is(err, c.want) || len(e.Messages) != 0 {
			t.Errorf("%s: %v, %+v", name, err, e)
		}
	}
	h := signOld(oldClicked, token)
	h.Set(headerSignature, strings.ToUpper(h.Get(headerSignature)))
	if _, err := w.Read(h, []byte(oldClicked), now); !errors.Is(err, im.ErrSignature) {
		t.Errorf("in capitals: %v", err)
	}
}
