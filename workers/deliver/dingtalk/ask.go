package dingtalk

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"moltbot/contracts"
	"moltbot/workers/deliver"
	"moltbot/workers/deliver/call"
)

const (
	signText  = "收到,正在处理…"
	signEmoji = "收到"
)

// Image fetches an image of a message.
func (a Apps) Image(ctx context.Context, i contracts.Image) ([]byte, string, error) {
	c, err := a.of(&contracts.Origin{App: i.App})
	if err != nil {
		return nil, "", err
	}
	return c.Image(ctx, i)
}

// Image fetches an image of a message from where DingTalk says that it lies for a
// while. The media type is what the bytes are.
func (c *Client) Image(ctx context.Context, i contracts.Image) ([]byte, string, error) {
	var got struct {
		URL string `json:"downloadUrl"`
	}
	err := c.api(ctx, pathDownload, map[string]string{"downloadCode": i.Key, "robotCode": c.o.RobotCode}, &got)
	if err != nil {
		return call.Image(nil, err)
	}
	return call.Image(c.download(ctx, got.URL))
}

// download fetches without a token. The host is not always the same, so that it may
// be any, but no inner one, and with plain HTTP only where the API has that too.
func (c *Client) download(ctx context.Context, from string) ([]byte, error) {
	u, err := contracts.ParseOutbound(from)
	if err != nil || u.Scheme != "https" && !strings.HasPrefix(c.o.Endpoint, "http://") {
		return nil, &deliver.Failure{Verdict: deliver.VerdictFinal, Detail: "address_refused", Err: errors.New("the address of the file is not used")}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, unsendable(errBadURL)
	}
	r, err := call.Do(c.files, req)
	switch {
	case err != nil:
		return nil, err
	case r.Broken != nil:
		return nil, fmt.Errorf("read the file: %w", r.Broken)
	case r.Status != http.StatusOK:
		return nil, r.Failed("dingtalk's file server")
	}
	return r.Body, nil
}

// Received shows the user that the message has arrived.
func (a Apps) Received(ctx context.Context, o *contracts.Origin) error {
	c, err := a.of(o)
	if err != nil {
		return err
	}
	return c.Received(ctx, o)
}

// Received shows the user that the message has arrived, in the way of the
// application. The reaction is one of text; no official page describes the call.
func (c *Client) Received(ctx context.Context, o *contracts.Origin) error {
	switch c.o.Sign {
	case SignReaction:
		return c.api(ctx, pathReact, map[string]any{
			"robotCode": c.o.RobotCode, "openMsgId": o.MessageID, "openConversationId": o.Chat,
			"emotionType": 2, "emotionName": signEmoji, "textEmotion": map[string]string{
				"emotionId": "2659900", "emotionName": signEmoji, "text": signEmoji, "backgroundId": "im_bg_1",
			},
		}, &struct{}{})
	case SignText:
		_, err := c.send(ctx, o, text(signText))
		return err
	}
	return nil
}

// Check reports whether the credentials are good. DingTalk tells no name of the
// robot, so it gives the code.
func (c *Client) Check(ctx context.Context) (name string, err error) {
	if _, err := c.tokens.Get(ctx); err != nil {
		return "", err
	}
	return c.o.RobotCode, nil
}

// Tell sends a text to a group (cid…) or to a user by staff id, to try whether that
// works.
func (c *Client) Tell(ctx context.Context, to, what string) (string, error) {
	if strings.HasPrefix(to, "cid") {
		return c.toGroup(ctx, to, text(what))
	}
	return c.toUser(ctx, to, text(what))
}
