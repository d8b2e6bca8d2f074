package contracts

import (
	"encoding/json"
	"fmt"
	"time"
)

// Channel is where a message came from and where its reply goes.
type Channel string

// The channels.
const (
	ChannelAPI      Channel = "api" // POST /api/chat and /v1
	ChannelDingTalk Channel = "dingtalk"
	ChannelFeishu   Channel = "feishu"
	// ChannelCallback is the way of a reply to the callback URL of a message of
	// ChannelAPI. No message comes from it.
	ChannelCallback Channel = "callback"
)

// DefaultApp is the application of a platform that is configured without a name.
const DefaultApp = "default"

// Origin is where a message of an IM channel came from, which is also where its
// answer goes. The names are the platform's.
type Origin struct {
	App       string    `json:"app"` // in our configuration
	MessageID string    `json:"message_id"`
	At        time.Time `json:"at"` // when the user sent it, by the platform's clock
	Chat      string    `json:"chat"`
	Direct    bool      `json:"direct,omitempty"` // a chat of one user with the bot
	// Thread is the topic or the message that began it; empty: not in one.
	Thread string `json:"thread,omitempty"`
	Sender string `json:"sender,omitempty"` // empty: DingTalk does not say it of outsiders
	Tenant string `json:"tenant,omitempty"`
	// Webhook takes answers until WebhookUntil (DingTalk: 90 minutes, facts). Who
	// may write to our callback chooses it, so it is checked where it is used.
	Webhook      string    `json:"webhook,omitempty"`
	WebhookUntil time.Time `json:"webhook_until,omitzero"`
}

// Image is where an image of a message can be fetched, as long as the platform
// keeps it.
type Image struct {
	Channel   Channel `json:"channel"`
	App       string  `json:"app"`
	MessageID string  `json:"message_id"` // the platform's, of the message it came in
	Key       string  `json:"key"`        // Feishu: image_key; DingTalk: downloadCode
}

func encodeOrigin(o *Origin) string {
	if o == nil {
		return ""
	}
	b, _ := json.Marshal(o) // cannot fail: texts and times
	return string(b)
}

func decodeOrigin(s string) (*Origin, error) {
	if s == "" {
		return nil, nil
	}
	var o Origin
	if err := json.Unmarshal([]byte(s), &o); err != nil {
		return nil, fmt.Errorf("decode origin: %w", err)
	}
	return &o, nil
}

func encodeImages(images []Image) string {
	if len(images) == 0 {
		return ""
	}
	b, _ := json.Marshal(images) // cannot fail: texts
	return string(b)
}

func decodeImages(s string) (images []Image, err error) {
	if s == "" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(s), &images); err != nil || len(images) == 0 {
		return nil, errFields
	}
	return images, nil
}
