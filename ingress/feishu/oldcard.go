package feishu

import (
	"crypto/sha1" // the platform's formula
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"moltbot/ingress/im"
)

// oldClick is the body of card.action.trigger_v1, which is not encrypted.
type oldClick struct {
	OpenID    string         `json:"open_id"`
	Message   string         `json:"open_message_id"`
	Chat      string         `json:"open_chat_id"` // missing in some
	TenantKey string         `json:"tenant_key"`
	Token     string         `json:"token"` // of this click
	Action    jsontext.Value `json:"action"`

	// What the present scheme has.
	Encrypt jsontext.Value `json:"encrypt"`
	Schema  jsontext.Value `json:"schema"`
	Header  jsontext.Value `json:"header"`
	Type    jsontext.Value `json:"type"`
}

// signedAsOld reports whether a signature can be one of the old scheme only.
func signedAsOld(h http.Header) bool { return len(h.Get(headerSignature)) == hex.EncodedLen(sha1.Size) }

// oldCard reads a click that was signed with the Verification Token. Nothing but a
// click comes in this way, whatever the token may have become known to: a body of
// the present scheme needs the Encrypt Key.
func (w *Webhook) oldCard(h http.Header, body []byte) (im.Event, error) {
	want := SignOldCard(h.Get(headerTime), h.Get(headerNonce), w.identity.Token, body)
	if subtle.ConstantTimeCompare([]byte(want), []byte(h.Get(headerSignature))) != 1 {
		return im.Event{}, im.ErrSignature
	}
	var old oldClick
	if err := im.Decode(body, &old); err != nil {
		return im.Event{}, err
	}
	if len(old.Encrypt)+len(old.Schema)+len(old.Header)+len(old.Type) > 0 {
		return im.Event{}, im.ErrSignature
	}
	if foreign(old.TenantKey, w.identity.TenantKey) {
		return im.Event{}, im.ErrForeign
	}
	at, err := im.Time(h.Get(headerTime))
	if err != nil {
		return im.Event{}, err
	}
	var c click
	if len(old.Action) == 0 {
		return im.Event{}, fmt.Errorf("%w: it has no action", im.ErrMalformed)
	}
	if err := im.Decode(old.Action, &c.Action); err != nil {
		return im.Event{}, err
	}
	if old.Chat == "" { // nobody knows whose conversation it belongs to
		c.Action.Value = nil
	}
	c.Operator.OpenID, c.Operator.TenantKey, c.Token = old.OpenID, old.TenantKey, old.Token
	c.Context.Message, c.Context.Chat = old.Message, old.Chat
	e, err := c.event(at, w.identity)
	for i := range e.Messages {
		e.Messages[i].Vague = true // the time is that of the callback
	}
	return e, err
}

// SignOldCard is the signature of the old callbacks of cards.
func SignOldCard(timestamp, nonce, token string, body []byte) string {
	d := sha1.New() // the platform's formula
	d.Write([]byte(timestamp + nonce + token))
	d.Write(body)
	return hex.EncodeToString(d.Sum(nil))
}
