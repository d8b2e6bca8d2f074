package dingtalk

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/ingress/im"
)

type posted struct {
	Request struct {
		Headers map[string]string `json:"headers"`
		Body    string            `json:"raw_body"`
	} `json:"request"`
	Expect struct {
		Text  string   `json:"text"`
		Codes []string `json:"download_codes"`
	} `json:"expect"`
}

func loadPayload(t testing.TB, name string) (p posted) {
	t.Helper()
	load(t, filepath.Join("payloads", name+".json"), &p)
	return p
}

func names() []string {
	return []string{"dingtalk-p2p-text", "dingtalk-group-text-at", "dingtalk-p2p-richtext", "dingtalk-p2p-picture", "dingtalk-p2p-audio"}
}

func TestPayloads(t *testing.T) {
	for _, name := range names() {
		p := loadPayload(t, name)
		h := header(p.Request.Headers["timestamp"], p.Request.Headers["sign"])
		e, err := newWebhook(t, secret).Read(h, []byte(p.Request.Body), vectorTime())
		if err != nil || e.Kind != im.KindMessage || len(e.Messages) != 1 || len(e.Body) != 0 {
			t.Errorf("%s: %v, %+v", name, err, e)
			continue
		}
		m := e.Messages[0]
		var keys []string
		for _, i := range m.Images {
			keys = append(keys, i.Key)
			if i.Channel != contracts.ChannelDingTalk || i.App != contracts.DefaultApp || i.MessageID != m.MessageID {
				t.Errorf("%s: %+v", name, i)
			}
		}
		if m.Text != p.Expect.Text || !slices.Equal(keys, p.Expect.Codes) || m.Unread != "" || !m.Mentioned {
			t.Errorf("%s: %+v", name, m)
		}
		isGroup := strings.Contains(name, "group")
		want := contracts.Origin{
			App: contracts.DefaultApp, MessageID: m.MessageID, At: time.UnixMilli(1789200000000).UTC(), Chat: single, Direct: !isGroup,
			Sender: staff, Tenant: corp, WebhookUntil: time.UnixMilli(1789205400246).UTC(),
			Webhook: "https://oapi.dingtalk.com/robot/sendBySession?session=00000000000000000000000000000000",
		}
		if isGroup {
			want.Chat = group
		}
		if m.Origin != want || !strings.HasPrefix(m.MessageID, "msgMadeUp000") || m.FromBot || m.Outsider || m.Stranger != "" || m.SenderName != "张三" {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

// raw is a text of the group, with members changed: "name", `value`, or "" to take it away.
func raw(change ...string) string {
	fields := map[string]string{
		"chatbotCorpId": `"` + corp + `"`, "chatbotUserId": `"$:bot"`, "senderStaffId": `"` + staff + `"`, "senderCorpId": `"` + corp + `"`,
		"senderId": `"$:LWCP_v1:$s"`, "robotCode": `"` + robot + `"`, "createAt": "1789200000000", "conversationId": `"` + group + `"`,
		"conversationType": `"2"`, "msgId": `"m1"`, "isInAtList": "true", "msgtype": `"text"`, "text": `{"content":" hi "}`,
	}
	for i := 0; i < len(change); i += 2 {
		if fields[change[i]] = change[i+1]; change[i+1] == "" {
			delete(fields, change[i])
		}
	}
	var parts []string
	for name, value := range fields {
		parts = append(parts, `"`+name+`":`+value)
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func readOne(t testing.TB, body string) im.Incoming {
	t.Helper()
	e, err := ReadMessage([]byte(body), identity())
	if err != nil || len(e.Messages) != 1 {
		t.Fatalf("%v, %d messages of %s", err, len(e.Messages), body)
	}
	return e.Messages[0]
}

func TestForms(t *testing.T) {
	for name, c := range map[string]struct {
		raw string
		err error
	}{
		"good":                 {raw(), nil},
		"another robot":        {raw("robotCode", `"x"`), im.ErrForeign},
		"no robot":             {raw("robotCode", ""), im.ErrForeign},
		"another organization": {raw("chatbotCorpId", `"x"`), im.ErrForeign},
		"numbers as texts":     {raw("createAt", `"1789200000000"`, "sessionWebhookExpiredTime", `"1789205400246"`, "isInAtList", `"true"`, "isAdmin", `"false"`), nil},
		"text as number":       {raw("conversationType", `2`), nil},
		"unknown chat":         {raw("conversationType", `"3"`), im.ErrMalformed},
		"chat is a list":       {raw("conversationType", `["2"]`), im.ErrMalformed},
		"unknown members":      {raw("new", `{"a":[1,2]}`), nil},
		"no id":                {raw("msgId", ""), im.ErrMalformed},
		"line end in the id":   {raw("msgId", `"a\r\nb"`), im.ErrMalformed},
		"NUL in the chat":      {raw("conversationId", `"a\u0000"`), im.ErrMalformed},
		"line end in staff":    {raw("senderStaffId", `"a\n"`), im.ErrMalformed},
		"line end in a sender": {raw("senderId", `"a\n"`), im.ErrMalformed},
		"no sender":            {raw("senderId", "", "senderStaffId", ""), im.ErrMalformed},
		"no type":              {raw("msgtype", ""), im.ErrMalformed},
		"no time":              {raw("createAt", ""), im.ErrMalformed},
		"negative time":        {raw("createAt", "-1789200000000"), im.ErrMalformed},
		"a time of 30 digits":  {raw("createAt", `"178920000000000000000000000000"`), im.ErrMalformed},
		"a time in E notation": {raw("createAt", "1.7892e12"), im.ErrMalformed},
		"broken expiry":        {raw("sessionWebhookExpiredTime", `"soon"`), im.ErrMalformed},
		"object for an id":     {raw("msgId", `{}`), im.ErrMalformed},
		"no text":              {raw("text", ""), nil},
		"old form of a text":   {raw("content", `"hi"`), nil},
		"text of another type": {raw("text", `{"content":1}`), im.ErrMalformed},
		"twice":                {strings.Replace(raw(), "{", `{"msgId":"m1",`, 1), im.ErrMalformed},
		"deep":                 {raw("a", strings.Repeat("[", 40)+strings.Repeat("]", 40)), im.ErrMalformed},
		"something behind":     {raw() + "1", im.ErrMalformed},
		"line end in a code":   {raw("msgtype", `"picture"`, "content", `{"downloadCode":"a\nb"}`), im.ErrMalformed},
		"not valid":            {`{"msgtype":"text", content: {"content":"x"}}`, im.ErrMalformed},
	} {
		e, err := ReadMessage([]byte(c.raw), identity())
		if !errors.Is(err, c.err) || c.err == nil && err != nil || err != nil && len(e.Messages) > 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSendersAndMentions(t *testing.T) {
	if m := readOne(t, raw("senderStaffId", `""`)); m.Sender != "" || m.Stranger != "$:LWCP_v1:$s" {
		t.Errorf("nobody of ours: %+v", m)
	}
	if m := readOne(t, raw("senderCorpId", `"other"`)); !m.Outsider {
		t.Errorf("of another organization: %+v", m)
	}
	if m := readOne(t, raw("senderCorpId", ``)); m.Outsider {
		t.Errorf("of an unknown organization: %+v", m)
	}
	if m := readOne(t, raw("senderId", `"$:bot"`)); !m.FromBot {
		t.Errorf("of the bot: %+v", m)
	}
	for name, c := range map[string]struct {
		raw  string
		want bool
	}{
		"in the list": {raw(), true}, "not in it": {raw("isInAtList", "false"), false},
		"among the users": {raw("isInAtList", "false", "atUsers", `[{"dingtalkId":"$:bot"}]`), true},
		"other users":     {raw("isInAtList", "", "atUsers", `[{"dingtalkId":"$:x","staffId":"y"}]`), false},
		"nothing said":    {raw("isInAtList", ""), true},
	} {
		if m := readOne(t, c.raw); m.Mentioned != c.want {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

func TestKinds(t *testing.T) {
	for name, c := range map[string]struct{ raw, text, unread string }{
		"text":                   {raw(), "hi", ""},
		"audio":                  {raw("msgtype", `"audio"`, "content", `{"duration":"4000","downloadCode":"d","recognition":"你好"}`), "你好", ""},
		"audio without text":     {raw("msgtype", `"audio"`, "content", `{"duration":4000,"downloadCode":"d"}`), "", "audio"},
		"video":                  {raw("msgtype", `"video"`, "content", `{"duration":4000}`), "", "video"},
		"file":                   {raw("msgtype", `"file"`, "content", `{"fileName":"a","fileId":1}`), "", "file"},
		"unknown":                {raw("msgtype", `"unknownMsgType"`, "content", `{"unknownMsgType":"x"}`), "", "unknownMsgType"},
		"new":                    {raw("msgtype", `"a b\n"`), "", "a_b_"},
		"quota":                  {raw("errorCode", `20001`, "errorMessage", `"x"`, "text", ""), "", "quota"},
		"quota as a text":        {raw("errorCode", `"20001"`, "text", ""), "", "quota"},
		"picture without a code": {raw("msgtype", `"picture"`, "content", `{}`), "", "picture"},
		"rich text":              {raw("msgtype", `"richText"`, "content", `{"richText":[{"text":" a "},{"type":"new"},{"text":"b "}]}`), "a b", ""},
	} {
		if m := readOne(t, c.raw); m.Text != c.text || m.Unread != c.unread || len(m.Images) > 0 {
			t.Errorf("%s: %+v", name, m)
		}
	}
	m := readOne(t, raw("msgtype", `"richText"`, "content", `{"richText":[{"downloadCode":"a"},{"type":"picture","pictureDownloadCode":"b"}]}`))
	if len(m.Images) != 2 || m.Images[0].Key != "a" || m.Images[1].Key != "b" || m.Text != "" {
		t.Errorf("%+v", m)
	}
}

func FuzzCheck(f *testing.F) {
	w := newWebhook(f, secret)
	f.Add("1789200300000", "x")
	f.Fuzz(func(t *testing.T, ts, sign string) {
		if err := w.Check(header(ts, sign), vectorTime()); !errors.Is(err, im.ErrSignature) {
			t.Errorf("%v", err)
		}
	})
}

func FuzzReadMessage(f *testing.F) {
	for _, name := range names() {
		f.Add([]byte(loadPayload(f, name).Request.Body))
	}
	f.Add([]byte(raw("errorCode", `20001`)))
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := ReadMessage(body, identity())
		if err != nil && !errors.Is(err, im.ErrForeign) && !errors.Is(err, im.ErrMalformed) {
			t.Fatalf("%v", err)
		}
		for i := range e.Messages {
			m := &e.Messages[i]
			if im.ID(m.MessageID) != nil || im.ID(m.Chat) != nil || m.At.IsZero() || m.Sender == "" && m.Stranger == "" {
				t.Errorf("%+v", m)
			}
		}
	})
}

func FuzzContent(f *testing.F) {
	f.Add([]byte(`{"richText":[{"text":"a"},{"type":"picture","downloadCode":"d"}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		body := raw("msgtype", `"richText"`, "content", string(content))
		if _, err := ReadMessage([]byte(body), identity()); err != nil && !errors.Is(err, im.ErrMalformed) && !errors.Is(err, im.ErrForeign) {
			t.Errorf("%v", err)
		}
	})
}
