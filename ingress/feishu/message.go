package feishu

import (
	"errors"
	"fmt"

	"moltbot/contracts"
	"moltbot/ingress/im"
)

// received is the inner part of im.message.receive_v1.
type received struct {
	Sender struct {
		ID        userID `json:"sender_id"`
		Type      string `json:"sender_type"`
		TenantKey string `json:"tenant_key"`
	} `json:"sender"`
	Message struct {
		ID       string    `json:"message_id"`
		Root     string    `json:"root_id"`
		Thread   string    `json:"thread_id"`
		Created  string    `json:"create_time"`
		Chat     string    `json:"chat_id"`
		ChatType string    `json:"chat_type"`
		Type     string    `json:"message_type"`
		Content  string    `json:"content"` // JSON
		Mentions []mention `json:"mentions"`
	} `json:"message"`
}

type userID struct {
	OpenID string `json:"open_id"`
}

type mention struct {
	Key  string `json:"key"`
	ID   userID `json:"id"`
	Type string `json:"mentioned_type"`
	Name string `json:"name"`
}

const (
	fromUser   = "user" // any other sender is a program
	chatDirect = "p2p"
	botMention = "bot"
)

func readMessage(e *envelope, who Identity) (im.Event, error) {
	var r received
	if len(e.Event) == 0 {
		return im.Event{}, fmt.Errorf("%w: it has no event", im.ErrMalformed)
	}
	if err := im.Decode(e.Event, &r); err != nil {
		return im.Event{}, err
	}
	m, err := r.incoming(who)
	if err != nil {
		return im.Event{}, err
	}
	return im.Event{Kind: im.KindMessage, Messages: []im.Incoming{m}}, nil
}

func (r *received) incoming(who Identity) (m im.Incoming, err error) {
	msg := &r.Message
	m = im.Incoming{
		Origin: contracts.Origin{
			App: who.App, MessageID: msg.ID, Chat: msg.Chat, Direct: msg.ChatType == chatDirect,
			Thread: r.thread(), Sender: r.Sender.ID.OpenID, Tenant: r.Sender.TenantKey,
		},
		FromBot:  r.Sender.Type != fromUser,
		Outsider: r.Sender.TenantKey != "" && foreign(r.Sender.TenantKey, who.TenantKey),
	}
	if m.At, err = im.Time(msg.Created); err != nil {
		return m, err
	}
	if err := checkIDs(&m); err != nil {
		return m, err
	}
	c := content{mentions: msg.Mentions, bot: who.bot()}
	if err = c.read(&m, msg.Type, msg.Content); m.FromBot {
		err = nil // nobody answers it, whatever it is
	}
	return m, err
}

// thread is the message that began the topic or the replies: that is the same in
// all of them. The topic has another id, which its first message has, too.
func (r *received) thread() string {
	switch {
	case r.Message.Root != "":
		return r.Message.Root
	case r.Message.Thread != "":
		return r.Message.ID
	}
	return ""
}

func checkIDs(m *im.Incoming) error {
	sender := im.ID
	if m.FromBot { // some have no id
		sender = im.OptionalID
	}
	return errors.Join(im.ID(m.MessageID), im.ID(m.Chat), sender(m.Sender), im.OptionalID(m.Thread), im.OptionalID(m.Tenant))
}

func images(m *im.Incoming, keys ...string) (out []contracts.Image) {
	for _, key := range keys {
		if key != "" && im.OptionalID(key) == nil {
			out = append(out, contracts.Image{Channel: contracts.ChannelFeishu, App: m.App, MessageID: m.MessageID, Key: key})
		}
	}
	return out
}
