package feishu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	larkcore "github.com/larksuite/oapi-sdk-go/v3/core"

	"moltbot/contracts"
	"moltbot/workers/deliver"
	"moltbot/workers/deliver/call"
)

// signText is shown where a reaction is not wanted.
const signText = "收到,正在处理…"

// Image fetches an image of a message.
func (a Apps) Image(ctx context.Context, i contracts.Image) ([]byte, string, error) {
	c, err := a.of(&contracts.Origin{App: i.App})
	if err != nil {
		return nil, "", err
	}
	return c.Image(ctx, i)
}

// Image fetches an image of a message. The media type is what the bytes are.
func (c *Client) Image(ctx context.Context, i contracts.Image) ([]byte, string, error) {
	b, err := c.api(ctx, c.files, larkcore.ApiReq{
		HttpMethod: http.MethodGet, ApiPath: pathFile,
		PathParams:  larkcore.PathParams{"message_id": i.MessageID, "file_key": i.Key},
		QueryParams: larkcore.QueryParams{"type": {"image"}},
	})
	return call.Image(b, err)
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
// application. Shown twice, it is seen once.
func (c *Client) Received(ctx context.Context, o *contracts.Origin) error {
	switch c.o.Sign {
	case SignReaction:
		if o.MessageID == "" {
			return nil
		}
		_, err := c.api(ctx, c.calls, larkcore.ApiReq{
			HttpMethod: http.MethodPost, ApiPath: pathReact, PathParams: larkcore.PathParams{"message_id": o.MessageID},
			Body: map[string]any{"reaction_type": map[string]string{"emoji_type": c.o.Emoji}},
		})
		return err
	case SignText:
		_, err := c.send(ctx, o, form{reply: o.MessageID != "", thread: o.Thread != ""}, message{UUID: deliver.PartKey(o.MessageID, "received")}, signText)
		return err
	}
	return nil
}

// BotOpenID is the open_id of the application's bot, by which a mention of it is
// known.
func (c *Client) BotOpenID(ctx context.Context) (string, error) {
	b, err := c.bot(ctx)
	return b.OpenID, err
}

// Check reports whether the credentials are good, and how the bot is called.
func (c *Client) Check(ctx context.Context) (name string, err error) {
	b, err := c.bot(ctx)
	return b.Name, err
}

type bot struct {
	Name   string `json:"app_name"`
	OpenID string `json:"open_id"`
}

func (c *Client) bot(ctx context.Context) (bot, error) {
	body, err := c.api(ctx, c.calls, larkcore.ApiReq{HttpMethod: http.MethodGet, ApiPath: pathBot})
	if err != nil {
		return bot{}, fmt.Errorf("ask who the bot is: %w", err)
	}
	var got struct {
		Bot bot `json:"bot"` // not under data
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return bot{}, errors.New("ask who the bot is: the answer cannot be read")
	}
	if got.Bot.OpenID == "" {
		return bot{}, errors.New("ask who the bot is: the application has no bot")
	}
	return got.Bot, nil
}
