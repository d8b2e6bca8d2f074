package feishu

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"moltbot/ingress/im"
)

const mentions = `,"mentions":[{"key":"@_user_1","id":{"open_id":"` + bot + `"},"mentioned_type":"bot","name":"助手"},
 {"key":"@_user_2","id":{"open_id":"ou_2"},"mentioned_type":"user","name":"@_user_1"},
 {"key":"@_user_10","id":{"open_id":"ou_10"},"mentioned_type":"user","name":"Zoë"}]`

func TestTexts(t *testing.T) {
	for text, want := range map[string]string{
		"@_user_1 hi":                "hi",
		" @_user_1  @_user_1 hi ":    "hi",
		"@_user_1":                   "",
		"hi @_user_1 there":          "hi @助手 there",
		"@_user_2 hi":                "@@_user_1 hi",
		"@_user_10, hi":              "@Zoë, hi",
		"@_user_3 hi":                "@_user_3 hi",
		"@_all hi":                   "@所有人 hi",
		"@_all今晚":                    "@所有人今晚",
		"@_allowed":                  "@_allowed",
		"@_user_1 see [a](http://b)": "see [a](http://b)",
		"@_user_1 /new":              "/new",
	} {
		b, _ := json.Marshal(map[string]string{"text": text})
		m := readOne(t, message("text", string(b), mentions))
		if m.Text != want || !m.Mentioned || m.AtAll != strings.Contains(want, "所有人") {
			t.Errorf("%q: %+v", text, m)
		}
	}
}

// Who the bot is decides its open_id. While that is not known it is the only bot.
func TestWhoIsMentioned(t *testing.T) {
	two := strings.Replace(mentions, `"ou_2"},"mentioned_type":"user"`, `"ou_2"},"mentioned_type":"bot"`, 1)
	for name, c := range map[string]struct {
		open, more string
		want       bool
	}{
		"its own": {bot, mentions, true}, "another": {"ou_other", mentions, false}, "among bots": {bot, two, true},
		"unknown": {"", mentions, true}, "unknown among bots": {"", two, false}, "nobody": {bot, "", false}, "nobody, unknown": {"", "", false},
	} {
		who := identity()
		who.BotOpenID = func() string { return c.open }
		e, err := ReadEvent(message("text", `{"text":"@_user_1 hi"}`, c.more), who)
		if err != nil || e.Messages[0].Mentioned != c.want {
			t.Errorf("%s: %v, %+v", name, err, e)
		}
	}
	who := identity()
	who.BotOpenID = nil
	if _, err := ReadEvent(message("text", `{"text":"hi"}`, ""), who); err != nil {
		t.Error(err)
	}
}

func TestPosts(t *testing.T) {
	for content, want := range map[string]string{
		`{"title":"","content":[[{"tag":"at","user_id":"@_user_1","user_name":"助手"},{"tag":"text","text":" hi"}]]}`:    "hi",
		`{"title":"T","content":[[{"tag":"at","user_id":"@_user_2"},{"tag":"text","text":" hi"}],[{"tag":"hr"}]]}`:     "T\n@@_user_1 hi\n---",
		`{"content":[[{"tag":"text","text":"a"},{"tag":"at","user_id":"@_user_1"}],[],[{"tag":"text","text":"b"}]]}`:   "a@助手\nb",
		`{"content":[[{"tag":"a","href":"https://x.y","text":"https://x.y"},{"tag":"emotion","emoji_type":"SMILE"}]]}`: "https://x.y[SMILE]",
		`{"content":[[{"tag":"at","user_id":"@_all"},{"tag":"text","text":" hi"},{"tag":"new","x":[1]}]]}`:             "@所有人 hi",
		`{"content":[[{"tag":"code_block","language":"GO","text":"a\nb\n"}]]}`:                                         "```go\na\nb\n```",
		`{"content":null}`: "",
	} {
		m := readOne(t, message("post", content, mentions))
		if m.Text != want || m.Unread != "" || m.AtAll != strings.Contains(content, "@_all") {
			t.Errorf("%s: %+v", content, m)
		}
	}
	m := readOne(t, message("post", `{"content":[[{"tag":"img","image_key":"i1"},{"tag":"img","image_key":"i\r\n2"},{"tag":"img"}],[{"tag":"img","image_key":"i3"}]]}`, ""))
	if len(m.Images) != 2 || m.Images[1].Key != "i3" || m.Images[0].MessageID != "om_1" || m.Text != "" {
		t.Errorf("%+v", m)
	}
}

func TestUnread(t *testing.T) {
	for kind, content := range map[string]string{
		"file": `{"file_key":"f"}`, "folder": `{}`, "media": `{}`, "sticker": `{"file_key":"f"}`, "interactive": `{"title":"x"}`, "share_chat": `{}`,
		"merge_forward": `Merged and Forwarded Message`, "location": ``, "audio": `{"file_key":"f","duration":2000}`, "image": `{}`, "new kind": `x`,
	} {
		if m := readOne(t, message(kind, content, "")); m.Unread != im.Kind(kind) || m.Text != "" {
			t.Errorf("%s: %+v", kind, m)
		}
	}
	if m := readOne(t, message("audio", `{"file_key":"f","recognition":" 你好 "}`, "")); m.Unread != "" || m.Text != "你好" {
		t.Errorf("%+v", m)
	}
	if m := readOne(t, message("", `{}`, "")); m.Unread != "unknown" {
		t.Errorf("%+v", m)
	}
}

// What a callback may hold is read in no time, however many are mentioned. Each
// placeholder once more against each mention would be 50 million looks.
func TestManyMentions(t *testing.T) {
	c := content{bot: bot}
	var text, want strings.Builder
	for i := range 7000 {
		key := fmt.Sprintf("@_user_%d", i)
		c.mentions = append(c.mentions, mention{Key: key, Name: fmt.Sprint("n", i)}, mention{Key: key, Name: "the second of a key"})
		fmt.Fprintf(&text, "%s ", key)
		fmt.Fprintf(&want, "@n%d ", i)
	}
	var m im.Incoming
	if got := c.names(&m, text.String()); got != strings.TrimSpace(want.String()) {
		t.Errorf("%.60s", got)
	}
	if len(c.byKey) != 7000 {
		t.Errorf("%d known keys", len(c.byKey))
	}
}

// The content is JSON in JSON, and bounded like what it is in.
func TestDeepContent(t *testing.T) {
	for name, text := range map[string]string{
		"deep":   `{"text":"x","more":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`,
		"deeper": `{"text":"x","more":` + strings.Repeat("[", 400_000),
		"wide":   `{"text":"x","more":[` + strings.Repeat("1,", 70_000) + `1]}`,
		"twice":  `{"text":"x","text":"y"}`, "a text": `"x"`, "nothing": "", "behind": `{"text":"x"}{}`,
	} {
		if e, err := ReadEvent(message("text", text, ""), identity()); !errors.Is(err, im.ErrMalformed) || len(e.Messages) > 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, value := range map[string]string{
		"deep": `{"message":"x","more":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, "twice": `{"message":"x","message":"y"}`,
	} {
		if e, err := ReadEvent(card(value, "c-1"), identity()); err == nil && len(e.Messages) > 0 {
			t.Errorf("card, %s: %+v", name, e)
		}
	}
}
