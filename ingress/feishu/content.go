package feishu

import (
	"regexp"
	"slices"
	"strings"

	"moltbot/ingress/im"
)

// everybody stands for a mention of all members.
const everybody = "@所有人"

// content reads what a message says.
type content struct {
	mentions []mention
	bot      string // its open_id; empty: it is not known
	byKey    map[string]*mention
}

// read fills m from the content of a message of kind. A kind that is not known is
// not looked at.
func (c *content) read(m *im.Incoming, kind, text string) error {
	c.mentioned(m)
	var v struct {
		Text     string   `json:"text"`
		Title    string   `json:"title"`
		Content  [][]span `json:"content"`
		ImageKey string   `json:"image_key"`
		// Recognition is the words of a voice message, where the platform knows them.
		Recognition string `json:"recognition"`
	}
	switch kind {
	case "text", "post", "image", "audio":
		if err := im.Decode([]byte(text), &v); err != nil {
			return err
		}
	default:
		m.Unread = unread(kind)
		return nil
	}
	switch kind {
	case "text":
		m.Text = c.names(m, v.Text)
	case "post":
		c.post(m, v.Title, v.Content)
	case "image":
		m.Images = images(m, v.ImageKey)
	case "audio":
		m.Text = strings.TrimSpace(v.Recognition)
	}
	if m.Text == "" && len(m.Images) == 0 && (kind == "image" || kind == "audio") {
		m.Unread = kind
	}
	return nil
}

func unread(kind string) string {
	if kind == "" {
		return "unknown"
	}
	return im.Kind(kind)
}

// mentioned looks for the bot among those who are mentioned. While nobody knows its
// open_id it is the only bot among them: the platform tells of few other messages.
func (c *content) mentioned(m *im.Incoming) {
	bots := 0
	for _, at := range c.mentions {
		if at.Key == atAll {
			m.AtAll = true
		}
		if at.Type == botMention {
			bots++
		}
		if c.bot != "" && at.ID.OpenID == c.bot {
			m.Mentioned = true
		}
	}
	if c.bot == "" && bots == 1 {
		i := slices.IndexFunc(c.mentions, func(at mention) bool { return at.Type == botMention })
		c.bot, m.Mentioned = c.mentions[i].ID.OpenID, true
	}
}

const atAll = "@_all"

// placeholder stands in a text for somebody who is mentioned.
var placeholder = regexp.MustCompile(`@_(?:user_\d+|all\b)`)

// names writes the names of those who are mentioned for their placeholders, in one
// pass, because a name may look like one. The bot's own is cut at the beginning.
func (c *content) names(m *im.Incoming, text string) string {
	text = strings.TrimSpace(text)
	for {
		at := placeholder.FindStringIndex(text)
		if at == nil || at[0] != 0 || !c.isBot(text[:at[1]]) {
			break
		}
		text = strings.TrimSpace(text[at[1]:])
	}
	return placeholder.ReplaceAllStringFunc(text, func(key string) string {
		if key == atAll { // it is often missing among the mentions
			m.AtAll = true
			return everybody
		}
		if at := c.find(key); at != nil && at.Name != "" {
			return "@" + at.Name
		}
		return key
	})
}

// find looks a placeholder up. A text may have thousands of them, as may a message.
func (c *content) find(key string) *mention {
	if c.byKey == nil {
		c.byKey = make(map[string]*mention, len(c.mentions))
		for i := range c.mentions {
			if m := &c.mentions[i]; c.byKey[m.Key] == nil { // the first of two
				c.byKey[m.Key] = m
			}
		}
	}
	return c.byKey[key]
}

func (c *content) isBot(key string) bool {
	at := c.find(key)
	return at != nil && c.bot != "" && at.ID.OpenID == c.bot
}

// span is a piece of rich text.
type span struct {
	Tag      string `json:"tag"`
	Text     string `json:"text"`
	Href     string `json:"href"`
	UserID   string `json:"user_id"` // a placeholder, or an open_id
	UserName string `json:"user_name"`
	ImageKey string `json:"image_key"`
	Language string `json:"language"`
	Emoji    string `json:"emoji_type"`
}

// post makes Markdown of rich text: its title, and its paragraphs on lines.
func (c *content) post(m *im.Incoming, title string, paragraphs [][]span) {
	var lines []string
	if title = strings.TrimSpace(title); title != "" {
		lines = append(lines, title)
	}
	first := true // nothing but mentions of the bot came before
	for _, p := range paragraphs {
		var line strings.Builder
		for i := range p {
			text := c.span(m, &p[i], first && title == "")
			first = first && strings.TrimSpace(text) == ""
			line.WriteString(text)
		}
		if text := strings.TrimRight(line.String(), " \t"); text != "" {
			lines = append(lines, text)
		}
	}
	m.Text = strings.TrimSpace(strings.Join(lines, "\n"))
}

func (c *content) span(m *im.Incoming, s *span, first bool) string {
	switch s.Tag {
	case "text", "md":
		return s.Text
	case "a":
		if s.Href == "" || s.Href == s.Text {
			return s.Text
		}
		return "[" + s.Text + "](" + s.Href + ")"
	case "at":
		return c.at(m, s, first)
	case "img":
		m.Images = append(m.Images, images(m, s.ImageKey)...)
	case "code_block":
		return "```" + strings.ToLower(strings.TrimSpace(s.Language)) + "\n" + strings.TrimRight(s.Text, "\n") + "\n```"
	case "emotion":
		if s.Emoji != "" {
			return "[" + s.Emoji + "]"
		}
	case "hr":
		return "---"
	}
	return ""
}

// at writes a mention as a name. The bot's own is nothing at the beginning.
func (c *content) at(m *im.Incoming, s *span, first bool) string {
	if s.UserID == atAll || s.UserID == "all" {
		m.AtAll = true
		return everybody
	}
	id, name := s.UserID, s.UserName
	if at := c.find(s.UserID); at != nil {
		id = at.ID.OpenID
		if name == "" {
			name = at.Name
		}
	}
	if c.bot != "" && id == c.bot {
		m.Mentioned = true
		if first {
			return ""
		}
	}
	if name == "" {
		return s.UserID
	}
	return "@" + name
}
