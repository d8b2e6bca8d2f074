package feishu

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"moltbot/ingress/im"
)

// Identity is the application whose events are taken.
type Identity struct {
	App       string // its name in our configuration
	AppID     string // empty: any
	TenantKey string // empty: any
	// Token is the Verification Token; empty: it is not looked at, as in what comes
	// over the long connection.
	Token string
	// BotOpenID gives the open_id of the bot; nil or an empty one: it is not known.
	BotOpenID func() string
}

func (who *Identity) bot() string {
	if who.BotOpenID == nil {
		return ""
	}
	return who.BotOpenID()
}

// envelope is an event of version 2.0 or 1.0, or the check of the URL.
type envelope struct {
	Schema string `json:"schema"`
	Header struct {
		EventID   string `json:"event_id"`
		EventType string `json:"event_type"`
		Created   string `json:"create_time"`
		Token     string `json:"token"`
		AppID     string `json:"app_id"`
		TenantKey string `json:"tenant_key"`
	} `json:"header"`
	Event jsontext.Value `json:"event"`

	// Version 1.0 and the check.
	Type      string `json:"type"`
	Token     string `json:"token"`
	TS        string `json:"ts"`
	Challenge string `json:"challenge"`
}

const (
	typeChallenge = "url_verification"
	typeMessage   = "im.message.receive_v1"
	typeCard      = "card.action.trigger"
	schema2       = "2.0"
	oldMessage    = "message" // of version 1.0
)

// ReadEvent reads a decrypted event of the application who. An event that is not
// for us has a Kind and nothing else.
func ReadEvent(plain []byte, who Identity) (im.Event, error) {
	var e envelope
	if err := im.Decode(plain, &e); err != nil {
		return im.Event{}, err
	}
	if e.Schema != schema2 && e.Type == typeChallenge {
		return challenge(&e, who)
	}
	if e.Schema != schema2 {
		return readOld(&e, who)
	}
	if !sameToken(e.Header.Token, who) {
		return im.Event{}, im.ErrSignature
	}
	if foreign(e.Header.AppID, who.AppID) || foreign(e.Header.TenantKey, who.TenantKey) {
		return im.Event{}, im.ErrForeign
	}
	switch e.Header.EventType {
	case typeMessage:
		return readMessage(&e, who)
	case typeCard:
		return readCard(&e, who)
	case "":
		return im.Event{}, fmt.Errorf("%w: it has no type", im.ErrMalformed)
	}
	return im.Event{Kind: im.Kind(e.Header.EventType)}, nil
}

// challenge echoes the word of a check, and does nothing else.
func challenge(e *envelope, who Identity) (im.Event, error) {
	if !sameToken(e.Token, who) {
		return im.Event{}, im.ErrSignature
	}
	body, err := json.Marshal(map[string]string{"challenge": e.Challenge})
	if err != nil {
		return im.Event{}, fmt.Errorf("%w: %w", im.ErrMalformed, err)
	}
	return im.Event{Kind: im.KindChallenge, Body: body}, nil
}

func sameToken(got string, who Identity) bool {
	return who.Token == "" || subtle.ConstantTimeCompare([]byte(got), []byte(who.Token)) == 1
}

func foreign(got, want string) bool { return want != "" && got != want }
