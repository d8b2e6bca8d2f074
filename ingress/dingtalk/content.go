package dingtalk

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"moltbot/contracts"
	"moltbot/ingress/im"
)

// scalar is a text, a number or a truth value. The platform writes the same member
// as one or the other.
type scalar string

// UnmarshalJSONFrom takes a number as it is written.
func (s *scalar) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	switch d.PeekKind() {
	case jsontext.KindNull:
		*s = ""
		return d.SkipValue()
	case jsontext.KindBeginObject, jsontext.KindBeginArray:
		return im.ErrMalformed
	}
	t, err := d.ReadToken()
	if err != nil {
		return err
	}
	*s = scalar(t.String())
	return nil
}

// body is the content of all kinds but text.
type body struct {
	RichText     []piece `json:"richText"`
	Recognition  string  `json:"recognition"`
	Download     string  `json:"downloadCode"`
	DownloadOnce string  `json:"pictureDownloadCode"`
}

// piece is a part of rich text, or a picture.
type piece struct {
	Type         string `json:"type"`
	Text         string `json:"text"`
	Download     string `json:"downloadCode"`
	DownloadOnce string `json:"pictureDownloadCode"`
}

// UnmarshalJSONFrom takes only an object for what it is: an old form has a text here.
func (b *body) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	type plain body
	if d.PeekKind() != jsontext.KindBeginObject {
		return d.SkipValue()
	}
	return json.UnmarshalDecode(d, (*plain)(b))
}

func (b *body) rich(m *im.Incoming) error {
	var text strings.Builder
	for i := range b.RichText {
		p := &b.RichText[i]
		if p.Type == "picture" || p.Type == "" && p.Text == "" && p.Download != "" {
			if err := p.picture(m); err != nil {
				return err
			}
			continue
		}
		text.WriteString(p.Text)
	}
	m.Text = strings.TrimSpace(text.String())
	return nil
}

func (b *body) picture(m *im.Incoming) error {
	return (&piece{Download: b.Download, DownloadOnce: b.DownloadOnce}).picture(m)
}

func (p *piece) picture(m *im.Incoming) error {
	key := p.Download
	if key == "" {
		key = p.DownloadOnce
	}
	if key == "" {
		m.Unread = "picture"
		return nil
	}
	if len(key) > maxKey || strings.ContainsAny(key, "\r\n\x00") {
		return fmt.Errorf("%w: a download code has another form", im.ErrMalformed)
	}
	m.Images = append(m.Images, contracts.Image{Channel: contracts.ChannelDingTalk, App: m.App, MessageID: m.MessageID, Key: key})
	return nil
}

// maxKey is the longest download code; known ones have some hundred bytes.
const maxKey = 4 << 10
