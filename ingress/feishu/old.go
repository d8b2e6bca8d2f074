package feishu

import (
	"fmt"
	"regexp"
	"strings"

	"moltbot/contracts"
	"moltbot/ingress/im"
)

// oldEvent is the inner part of an event of version 1.0.
type oldEvent struct {
	Type      string `json:"type"`
	AppID     string `json:"app_id"`
	TenantKey string `json:"tenant_key"`

	ChatType  string `json:"chat_type"` // "private" or "group"
	Chat      string `json:"open_chat_id"`
	OpenID    string `json:"open_id"`
	Message   string `json:"open_message_id"`
	Root      string `json:"root_id"`
	Kind      string `json:"msg_type"`
	Text      string `json:"text"`
	ImageKey  string `json:"image_key"`
	Mentioned bool   `json:"is_mention"`
}

func readOld(e *envelope, who Identity) (im.Event, error) {
	if !sameToken(e.Token, who) {
		return im.Event{}, im.ErrSignature
	}
	var old oldEvent
	if len(e.Event) == 0 {
		return im.Event{}, fmt.Errorf("%w: it has no event", im.ErrMalformed)
	}
	if err := im.Decode(e.Event, &old); err != nil {
		return im.Event{}, err
	}
	isMessage := old.Type == oldMessage
	// Events of other types need not name the application.
	if (isMessage || old.AppID != "") && foreign(old.AppID, who.AppID) || (isMessage || old.TenantKey != "") && foreign(old.TenantKey, who.TenantKey) {
		return im.Event{}, im.ErrForeign
	}
	switch {
	case old.Type == "":
		return im.Event{}, fmt.Errorf("%w: it has no type", im.ErrMalformed)
	case !isMessage:
		return im.Event{Kind: im.Kind(old.Type)}, nil
	}
	m, err := old.message(e.TS, who)
	if err != nil {
		return im.Event{}, err
	}
	return im.Event{Kind: im.KindMessage, Messages: []im.Incoming{m}}, nil
}

func (old *oldEvent) message(ts string, who Identity) (m im.Incoming, err error) {
	seconds, _, _ := strings.Cut(ts, ".")
	at, err := im.Time(seconds)
	if err != nil {
		return m, err
	}
	// The time is the event's. The message's own is not in it.
	m = im.Incoming{Vague: true, Origin: contracts.Origin{
		App: who.App, MessageID: old.Message, At: at, Chat: old.Chat, Direct: old.ChatType != "group",
		Thread: old.Root, Sender: old.OpenID, Tenant: old.TenantKey,
	}}
	if err := checkIDs(&m); err != nil {
		return m, err
	}
	bot := who.bot()
	switch old.Kind {
	case "text":
		m.Text = oldText(&m, old.Text, bot)
	case "image":
		m.Images = images(&m, old.ImageKey)
	}
	m.Mentioned = m.Mentioned || bot == "" && old.Mentioned
	if m.Text == "" && len(m.Images) == 0 && old.Kind != "text" {
		m.Unread = unread(old.Kind)
	}
	return m, nil
}

var oldAt = regexp.MustCompile(`<at (?:open_id|user_id)="([^"]*)">(.*?)</at>`)

// oldText writes mentions as names, and cuts the bot's at the beginning.
func oldText(m *im.Incoming, text, bot string) string {
	text = strings.TrimSpace(text)
	for {
		at := oldAt.FindStringSubmatchIndex(text)
		if at == nil || at[0] != 0 || bot == "" || text[at[2]:at[3]] != bot {
			break
		}
		m.Mentioned = true
		text = strings.TrimSpace(text[at[1]:])
	}
	return oldAt.ReplaceAllStringFunc(text, func(s string) string {
		part := oldAt.FindStringSubmatch(s)
		switch part[1] {
		case bot:
			m.Mentioned = bot != ""
		case "all":
			m.AtAll = true
			return everybody
		}
		return part[2]
	})
}
