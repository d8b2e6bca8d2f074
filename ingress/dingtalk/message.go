package dingtalk

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"moltbot/contracts"
	"moltbot/ingress/im"
)

// Identity is the robot whose messages are taken.
type Identity struct {
	App       string // its name in our configuration
	RobotCode string // empty: any
	CorpID    string // of the organization; empty: any
}

// message is what the platform posts.
type message struct {
	ID        string `json:"msgId"`
	Type      string `json:"msgtype"`
	Chat      string `json:"conversationId"`
	ChatType  scalar `json:"conversationType"` // "1": with one user; "2": a group
	Created   scalar `json:"createAt"`
	Staff     string `json:"senderStaffId"`
	Sender    string `json:"senderId"`
	Nick      string `json:"senderNick"`
	Corp      string `json:"senderCorpId"`
	Robot     string `json:"robotCode"`
	RobotCorp string `json:"chatbotCorpId"`
	RobotUser string `json:"chatbotUserId"`

	InAtList scalar `json:"isInAtList"`
	AtUsers  []struct {
		ID string `json:"dingtalkId"`
	} `json:"atUsers"`

	Webhook      string `json:"sessionWebhook"`
	WebhookUntil scalar `json:"sessionWebhookExpiredTime"`

	Text struct {
		Content string `json:"content"`
	} `json:"text"`
	Content   body   `json:"content"`
	ErrorCode scalar `json:"errorCode"`
}

const (
	chatDirect = "1"
	chatGroup  = "2"

	quotaUsedUp = "20001"
)

// ReadMessage reads a message of the robot who, from a callback or a stream.
func ReadMessage(raw []byte, who Identity) (im.Event, error) {
	var msg message
	if err := im.Decode(raw, &msg); err != nil {
		return im.Event{}, err
	}
	if foreign(msg.Robot, who.RobotCode) || foreign(msg.RobotCorp, who.CorpID) {
		return im.Event{}, im.ErrForeign
	}
	m, err := msg.incoming(who)
	if err != nil {
		return im.Event{}, err
	}
	return im.Event{Kind: im.KindMessage, Messages: []im.Incoming{m}}, nil
}

func foreign(got, want string) bool { return want != "" && got != want }

func (msg *message) incoming(who Identity) (m im.Incoming, err error) {
	if msg.ChatType != chatDirect && msg.ChatType != chatGroup {
		return m, fmt.Errorf("%w: the kind of chat is not known", im.ErrMalformed)
	}
	m = im.Incoming{
		Origin: contracts.Origin{
			App: who.App, MessageID: msg.ID, Chat: msg.Chat, Direct: msg.ChatType == chatDirect,
			Sender: msg.Staff, Tenant: msg.Corp, Webhook: msg.Webhook,
		},
		SenderName: msg.Nick,
		Mentioned:  msg.mentioned(),
		FromBot:    msg.RobotUser != "" && msg.Sender == msg.RobotUser,
		Outsider:   msg.Corp != "" && foreign(msg.Corp, who.CorpID),
	}
	if msg.Staff == "" {
		m.Stranger = msg.Sender
	}
	if m.At, err = im.Time(string(msg.Created)); err != nil {
		return m, err
	}
	if m.WebhookUntil, err = msg.until(); err != nil {
		return m, err
	}
	err = errors.Join(
		im.ID(m.MessageID), im.ID(m.Chat), im.ID(cmp.Or(m.Sender, m.Stranger)), im.OptionalID(msg.Sender), im.OptionalID(m.Tenant))
	if err != nil {
		return m, err
	}
	return m, msg.read(&m)
}

func (msg *message) until() (time.Time, error) {
	if msg.WebhookUntil == "" {
		return time.Time{}, nil
	}
	return im.Time(string(msg.WebhookUntil))
}

// mentioned reports whether the robot is. Where nothing is said of it the platform
// sent the message because of it: it sends no others.
func (msg *message) mentioned() bool {
	if msg.InAtList == "" && len(msg.AtUsers) == 0 {
		return true
	}
	return msg.InAtList == "true" || msg.RobotUser != "" && slices.ContainsFunc(msg.AtUsers, func(u struct {
		ID string `json:"dingtalkId"`
	}) bool {
		return u.ID == msg.RobotUser
	})
}

// read fills m from the content.
func (msg *message) read(m *im.Incoming) error {
	if msg.ErrorCode == quotaUsedUp {
		m.Unread = im.UnreadQuota
		return nil
	}
	c := &msg.Content
	switch msg.Type {
	case "text":
		m.Text = strings.TrimSpace(msg.Text.Content)
	case "richText":
		return c.rich(m)
	case "picture":
		return c.picture(m)
	case "audio":
		m.Text = strings.TrimSpace(c.Recognition)
		if m.Text == "" {
			m.Unread = msg.Type
		}
	case "":
		return fmt.Errorf("%w: it has no type", im.ErrMalformed)
	default:
		m.Unread = im.Kind(msg.Type)
	}
	return nil
}
