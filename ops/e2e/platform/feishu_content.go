package platform

import (
	"encoding/json"
	"fmt"
	"strings"
)

// ReadContent reads what a message shows. content is a JSON document in a string,
// of a form that depends on the type.
func ReadContent(msgType, content string) (string, error) {
	limit := largestPost
	if msgType == "text" {
		limit = largestText
	}
	if len(content) > limit {
		return "", fmt.Errorf("%s of %d bytes", msgType, len(content))
	}
	var text string
	var err error
	switch msgType {
	case "text":
		text, err = readText(content)
	case "post":
		text, err = readPost(content)
	case "interactive":
		text, err = readCard(content)
	default:
		err = fmt.Errorf("msg_type %q", msgType)
	}
	if err == nil && text == "" {
		err = fmt.Errorf("an empty %s: %.200s", msgType, content)
	}
	return text, err
}

func readText(content string) (string, error) {
	var c struct {
		Text string `json:"text"`
	}
	err := strict(content, &c)
	return c.Text, err
}

// readPost wants a locale around it, and an md tag alone in its paragraph.
func readPost(content string) (string, error) {
	var c map[string]struct {
		Title   string             `json:"title"`
		Content [][]map[string]any `json:"content"`
	}
	if err := strict(content, &c); err != nil {
		return "", err
	}
	var b strings.Builder
	for locale, post := range c {
		if locale != "zh_cn" && locale != "en_us" && locale != "ja_jp" {
			return "", fmt.Errorf("post in locale %q", locale)
		}
		b.WriteString(post.Title)
		for _, paragraph := range post.Content {
			for _, element := range paragraph {
				tag, _ := element["tag"].(string)
				if tag == "md" && len(paragraph) != 1 {
					return "", fmt.Errorf("md beside %d others", len(paragraph)-1)
				}
				text, _ := element["text"].(string)
				b.WriteString(text)
			}
		}
		break
	}
	return b.String(), nil
}

func readCard(content string) (string, error) {
	var c struct {
		Schema   string         `json:"schema"`
		Config   map[string]any `json:"config"`
		Header   map[string]any `json:"header"`
		Elements []cardElement  `json:"elements"`
		Body     struct {
			Elements []cardElement `json:"elements"`
		} `json:"body"`
	}
	if err := json.Unmarshal([]byte(content), &c); err != nil {
		return "", err
	}
	var b strings.Builder
	for _, e := range append(c.Elements, c.Body.Elements...) {
		b.WriteString(e.Content)
		b.WriteString(e.Text.Content)
	}
	return b.String(), nil
}

type cardElement struct {
	Content string `json:"content"`
	Text    struct {
		Content string `json:"content"`
	} `json:"text"`
}

func strict(content string, into any) error {
	d := json.NewDecoder(strings.NewReader(content))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("content %.200s: %w", content, err)
	}
	return nil
}
