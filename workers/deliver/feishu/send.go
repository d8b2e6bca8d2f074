package feishu

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	larkcore "github.com/larksuite/oapi-sdk-go/v3/core"

	"moltbot/contracts"
	"moltbot/workers/deliver"
	"moltbot/workers/deliver/shown"
)

// repeatable is how long Feishu certainly drops a repeat by its uuid: an hour
// (facts), less what clocks and a slow call may differ.
const repeatable = 55 * time.Minute

var errNoToken = errors.New("feishu gave no token")

// Sender sends answers for all applications.
type Sender struct {
	Apps      Apps
	LinkHosts []string // that links may lead to; empty: any
}

// Parts cuts an answer into posts.
func (s *Sender) Parts(a *contracts.Answer) []deliver.Part {
	return deliver.Parts(a.ID, shown.Feishu(a.Text, shown.Options{LinkHosts: s.LinkHosts}))
}

// Send sends one part.
func (s *Sender) Send(ctx context.Context, a *contracts.Answer, p deliver.Part) (string, error) {
	c, err := s.Apps.of(a.Origin)
	if err != nil {
		return "", err
	}
	id, err := c.reply(ctx, a.Origin, asPost(p.Text), p)
	var f *deliver.Failure
	if codeOf(err) == inFlight && errors.As(err, &f) && !p.Since.IsZero() && c.o.Now().Sub(p.Since) >= patience {
		f.Hold = true
	}
	return id, err
}

// patience is how long an answer holds up its chat while Feishu says of it that it
// is still being sent. It may be what Feishu says of any repeat.
const patience = 10 * time.Minute

// Repeatable reports whether Feishu still drops a repeat.
func (s *Sender) Repeatable(_ *contracts.Answer, since time.Duration) bool {
	return since < repeatable
}

// of finds the application of a message. It may have left the configuration.
func (a Apps) of(o *contracts.Origin) (*Client, error) {
	if o != nil && a[o.App] != nil {
		return a[o.App], nil
	}
	return nil, &deliver.Failure{Verdict: deliver.VerdictFinal, Detail: "no_app", Err: errors.New("no such application of feishu is configured")}
}

// form is how a message is sent. What Feishu does not take is left out, one after
// the other.
type form struct{ reply, thread, post bool }

// after gives the next form to try when one was refused. All forms have the same
// uuid, of which Feishu sends at most one message.
func (f form) after(code int64) (form, bool) {
	was := f
	switch code {
	case 230011, 230110: // what we reply to is gone
		f.reply = false
	case 230019, 230071, 230072: // no such topic, or none there
		f.thread = false
	case 230001, 230025, 230099, 19036: // it cannot be shown like that
		f.post = false
	}
	return f, f != was
}

// reply sends content as an answer to what o names; p.Text stands in for it where
// only text goes.
func (c *Client) reply(ctx context.Context, o *contracts.Origin, content string, p deliver.Part) (string, error) {
	f := form{reply: o.MessageID != "", thread: o.MessageID != "" && o.Thread != "", post: true}
	for {
		id, err := c.send(ctx, o, f, message{Type: "post", Content: content, UUID: p.Key}, p.Text)
		if err == nil {
			return id, nil
		}
		next, again := f.after(codeOf(err))
		if !again {
			return "", fmt.Errorf("send part %d of %d: %w", p.Number, p.Of, err)
		}
		f = next
	}
}

func (c *Client) send(ctx context.Context, o *contracts.Origin, f form, m message, text string) (string, error) {
	if !f.post {
		m.Type, m.Content = "text", asText(shown.Plain(text))
	}
	if f.reply {
		m.Thread = f.thread
		return c.post(ctx, pathReply, larkcore.PathParams{"message_id": o.MessageID}, m)
	}
	m.Receiver = o.Chat
	return c.post(ctx, pathCreate, nil, m)
}

// Tell sends a text to a chat, a user (open_id, union_id, user_id) or an e-mail
// address, to try whether that works.
func (c *Client) Tell(ctx context.Context, to, text string) (string, error) {
	return c.post(ctx, pathCreate, nil, message{Receiver: to, Type: "text", Content: asText(text), UUID: rand.Text()})
}

// receiverKind says what kind of id it is: Feishu gives each its own beginning.
func receiverKind(id string) string {
	switch {
	case strings.HasPrefix(id, "oc_"):
		return "chat_id"
	case strings.HasPrefix(id, "ou_"):
		return "open_id"
	case strings.HasPrefix(id, "on_"):
		return "union_id"
	case strings.Contains(id, "@"):
		return "email"
	}
	return "user_id"
}
