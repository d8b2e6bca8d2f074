package feishu

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"moltbot/contracts"
	"moltbot/ingress/im"
)

// click is the inner part of card.action.trigger.
type click struct {
	Operator struct {
		OpenID    string `json:"open_id"`
		TenantKey string `json:"tenant_key"`
	} `json:"operator"`
	Token  string `json:"token"` // of this click
	Action struct {
		Value jsontext.Value `json:"value"` // an object, or a text
	} `json:"action"`
	Context struct {
		Message string `json:"open_message_id"`
		Chat    string `json:"open_chat_id"`
	} `json:"context"`
}

// readCard reads a click on a card. A text under "message" in the value of its
// action becomes a message of whoever clicked; the token names the click, so that
// the same one is the same message when it is played again.
func readCard(e *envelope, who Identity) (im.Event, error) {
	var c click
	if len(e.Event) == 0 {
		return im.Event{}, fmt.Errorf("%w: it has no event", im.ErrMalformed)
	}
	if err := im.Decode(e.Event, &c); err != nil {
		return im.Event{}, err
	}
	at, err := im.Time(e.Header.Created)
	if err != nil {
		return im.Event{}, err
	}
	return c.event(at, who)
}

func (c *click) event(at time.Time, who Identity) (im.Event, error) {
	if strings.TrimSpace(c.Token) == "" {
		return im.Event{}, im.ErrSignature
	}
	out := im.Event{Kind: im.KindCard, Body: []byte(`{}`)}
	text := c.message()
	if text == "" {
		out.Body = toast("info", "此操作无需处理。Nothing to do.")
		return out, nil
	}
	m := im.Incoming{Unique: c.Token, Text: text, Mentioned: true, Origin: contracts.Origin{
		App: who.App, MessageID: cmp.Or(c.Context.Message, c.Token), At: at, Chat: c.Context.Chat, Sender: c.Operator.OpenID, Tenant: c.Operator.TenantKey,
	}}
	m.Outsider = c.Operator.TenantKey != "" && foreign(c.Operator.TenantKey, who.TenantKey)
	if err := errors.Join(checkIDs(&m), im.ID(m.Unique)); err != nil {
		return im.Event{}, err
	}
	out.Messages = []im.Incoming{m}
	return out, nil
}

// message is the text that the card's maker wants said, or empty.
func (c *click) message() string {
	if len(c.Action.Value) == 0 || c.Action.Value.Kind() != jsontext.KindBeginObject {
		return ""
	}
	var v struct {
		Message jsontext.Value `json:"message"`
	}
	if im.Decode(c.Action.Value, &v) != nil || len(v.Message) == 0 || v.Message.Kind() != '"' {
		return ""
	}
	var text string
	if json.Unmarshal(v.Message, &text) != nil {
		return ""
	}
	return strings.TrimSpace(text)
}

// toast is the answer that shows the user a short text.
func toast(kind, text string) []byte {
	b, _ := json.Marshal(map[string]map[string]string{"toast": {"type": kind, "content": text}}) // cannot fail: texts
	return b
}
