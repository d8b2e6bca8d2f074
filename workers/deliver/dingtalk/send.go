package dingtalk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"moltbot/contracts"
	"moltbot/workers/deliver"
	"moltbot/workers/deliver/shown"
)

// maxParam is the longest msgParam, in bytes (facts).
const maxParam = 15000

// Sender sends answers for all applications.
type Sender struct {
	Apps      Apps
	LinkHosts []string // that links may lead to; empty: any
}

// Parts cuts an answer into messages, each of which the robot could send too: which
// way it goes is known only when it goes.
func (s *Sender) Parts(a *contracts.Answer) []deliver.Part {
	o := shown.Options{LinkHosts: s.LinkHosts}
	texts := shown.DingTalk(a.Text, o)
	// Quotes and line breaks take two bytes each in JSON, control characters six.
	for limit := maxParam / 2; tooLong(texts) && limit > 1000; limit /= 2 {
		o.MaxBytes = limit
		texts = shown.DingTalk(a.Text, o)
	}
	return deliver.Parts(a.ID, texts)
}

func tooLong(texts []string) bool {
	for _, text := range texts {
		if param, err := encode(asMarkdown(text)); err != nil || len(param) > maxParam {
			return true
		}
	}
	return false
}

// Send sends one part.
func (s *Sender) Send(ctx context.Context, a *contracts.Answer, p deliver.Part) (string, error) {
	c, err := s.Apps.of(a.Origin)
	if err != nil {
		return "", err
	}
	receipt, err := c.send(ctx, a.Origin, markdown(p.Text))
	if err != nil {
		return "", fmt.Errorf("send part %d of %d: %w", p.Number, p.Of, err)
	}
	return receipt, nil
}

// Repeatable: DingTalk drops no repeat, so the operator chooses.
func (s *Sender) Repeatable(a *contracts.Answer, _ time.Duration) bool {
	c, err := s.Apps.of(a.Origin)
	return err == nil && c.o.Resend
}

// of finds the application of a message. It may have left the configuration.
func (a Apps) of(o *contracts.Origin) (*Client, error) {
	if o != nil && a[o.App] != nil {
		return a[o.App], nil
	}
	return nil, &deliver.Failure{Verdict: deliver.VerdictFinal, Detail: "no_app", Err: errors.New("no such application of dingtalk is configured")}
}

// content is a message in the words of both ways: kind and key are what the
// webhook and the robot call it.
type content struct {
	kind, key string
	fields    any
}

type titled struct {
	Title string `json:"title"` // what the list of chats and a notification show
	Text  string `json:"text"`
}

func asMarkdown(md string) titled {
	t := titled{Title: shown.Title(md), Text: md}
	if t.Title == "" {
		t.Title = "…"
	}
	return t
}

func markdown(md string) content {
	return content{kind: "markdown", key: "sampleMarkdown", fields: asMarkdown(md)}
}

func text(s string) content {
	return content{kind: "text", key: "sampleText", fields: map[string]string{"content": s}}
}

// send takes the session webhook while there is one, because it counts towards no
// quota, else the robot.
func (c *Client) send(ctx context.Context, o *contracts.Origin, m content) (string, error) {
	if to, ok := c.webhook(o); ok {
		err := c.bySession(ctx, to, o, map[string]any{"msgtype": m.kind, m.kind: m.fields})
		if !isGone(err) {
			return "", err
		}
	}
	if o.Direct {
		return c.toUser(ctx, o.Sender, m)
	}
	return c.toGroup(ctx, o.Chat, m)
}

func (c *Client) toGroup(ctx context.Context, chat string, m content) (string, error) {
	if chat == "" {
		return "", nobody("the message names no chat")
	}
	param, err := m.param()
	if err != nil {
		return "", err
	}
	var got sent
	err = c.api(ctx, pathGroup, map[string]string{
		"robotCode": c.o.RobotCode, "openConversationId": chat, "msgKey": m.key, "msgParam": param,
	}, &got)
	return got.Query, err
}

func (c *Client) toUser(ctx context.Context, staff string, m content) (string, error) {
	if staff == "" {
		return "", nobody("DingTalk says no staff id of the user: an outsider, or the application's version is not published")
	}
	param, err := m.param()
	if err != nil {
		return "", err
	}
	var got sent
	err = c.api(ctx, pathUser, map[string]any{
		"robotCode": c.o.RobotCode, "userIds": []string{staff}, "msgKey": m.key, "msgParam": param,
	}, &got)
	if err != nil {
		return "", err
	}
	return got.Query, got.left()
}

// param is the JSON text in which the robot's API wants a message.
func (m content) param() (string, error) {
	b, err := encode(m.fields)
	if err != nil {
		return "", unsendable(err)
	}
	if len(b) > maxParam {
		return "", unsendable(fmt.Errorf("a message of %d bytes is too long", len(b)))
	}
	return string(b), nil
}

// sent is the answer of both calls of the robot.
type sent struct {
	Query   string   `json:"processQueryKey"`
	Invalid []string `json:"invalidStaffIdList"`
	Flow    []string `json:"flowControlledStaffIdList"`
}

// left is the failure in a success: whom the message was not sent to.
func (s *sent) left() error {
	switch {
	case len(s.Invalid) > 0:
		return nobody("DingTalk does not know the user's staff id")
	case len(s.Flow) > 0:
		return &deliver.Failure{
			Verdict: deliver.VerdictRetry, Wait: floodPause, Chat: true, Detail: "flow_controlled",
			Err: errors.New("dingtalk lets no more messages to this user for now"),
		}
	}
	return nil
}

func nobody(why string) error {
	return &deliver.Failure{Verdict: deliver.VerdictFinal, Detail: "no_receiver", Err: errors.New(why)}
}
