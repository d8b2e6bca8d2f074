package feishu

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	larkcore "github.com/larksuite/oapi-sdk-go/v3/core"

	"moltbot/workers/deliver"
	"moltbot/workers/deliver/call"
	"moltbot/workers/deliver/token"
)

// fetchToken asks for a tenant access token. It is at the top level of the answer.
func (c *Client) fetchToken(ctx context.Context) (token.Token, error) {
	res, err := larkcore.Request(ctx, &larkcore.ApiReq{
		HttpMethod: http.MethodPost, ApiPath: larkcore.TenantAccessTokenInternalUrlPath,
		Body:                      &larkcore.SelfBuiltTenantAccessTokenReq{AppID: c.o.AppID, AppSecret: c.o.AppSecret},
		SupportedAccessTokenTypes: []larkcore.AccessTokenType{larkcore.AccessTokenTypeNone},
	}, c.calls)
	if err != nil {
		return token.Token{}, fmt.Errorf("get a token: %w", unsendable(err))
	}
	var got struct {
		Token  string `json:"tenant_access_token"`
		Expire int64  `json:"expire"` // seconds
	}
	if json.Unmarshal(res.RawBody, &got) != nil || got.Token == "" || got.Expire <= 0 {
		return token.Token{}, &deliver.Failure{Verdict: deliver.VerdictRetry, Detail: "no_token", Err: errNoToken}
	}
	const day = 24 * 60 * 60
	return token.Token{Value: got.Token, Lives: time.Duration(min(got.Expire, day)) * time.Second}, nil
}

// api makes a call with a token. One that is refused is fetched anew and tried
// once more, and never again: with a wrong endpoint every token is refused.
func (c *Client) api(ctx context.Context, config *larkcore.Config, req larkcore.ApiReq) ([]byte, error) {
	req.SupportedAccessTokenTypes = []larkcore.AccessTokenType{larkcore.AccessTokenTypeTenant}
	for tried := false; ; tried = true {
		t, err := c.tokens.Get(ctx)
		if err != nil {
			return nil, call.Unsent(err)
		}
		again := req
		res, err := larkcore.Request(ctx, &again, config, larkcore.WithTenantAccessToken(t.Value))
		if err == nil {
			return res.RawBody, nil
		}
		if !isToken(codeOf(err)) {
			return nil, unsendable(err)
		}
		c.tokens.Drop(t)
		if tried {
			return nil, unsendable(err)
		}
	}
}

// message is the body of both calls that send one.
type message struct {
	Receiver string `json:"receive_id,omitempty"`
	Type     string `json:"msg_type"`
	Content  string `json:"content"` // JSON in a string
	Thread   bool   `json:"reply_in_thread,omitempty"`
	UUID     string `json:"uuid,omitempty"`
}

// settled is how often a message may be still on its way before others are let go
// first.
const settled = 3

// post sends m and gives the id of what users see now. Feishu may say of a message
// that it has already, by its uuid, that it is being sent. That is no success: it
// may have arrived, and asking with the same uuid later does no harm.
func (c *Client) post(ctx context.Context, path string, params larkcore.PathParams, m message) (string, error) {
	for n := 1; ; n++ {
		id, err := c.postOnce(ctx, path, params, m)
		if codeOf(err) != inFlight || n == settled {
			return id, err
		}
		pause := time.NewTimer(c.o.Settle)
		select {
		case <-ctx.Done():
			pause.Stop()
			return "", err
		case <-pause.C:
		}
	}
}

func (c *Client) postOnce(ctx context.Context, path string, params larkcore.PathParams, m message) (string, error) {
	req := larkcore.ApiReq{HttpMethod: http.MethodPost, ApiPath: path, PathParams: params, Body: &m}
	if m.Receiver != "" {
		req.QueryParams = larkcore.QueryParams{"receive_id_type": {receiverKind(m.Receiver)}}
	}
	body, err := c.api(ctx, c.calls, req)
	if err != nil {
		return "", err
	}
	var got struct {
		Data struct {
			ID string `json:"message_id"`
		} `json:"data"`
	}
	// The code was 0: it was sent, whatever the rest looks like.
	if json.Unmarshal(body, &got) != nil || len(got.Data.ID) > 128 {
		return "", nil
	}
	return got.Data.ID, nil
}

const (
	pathCreate = "/open-apis/im/v1/messages"
	pathReply  = "/open-apis/im/v1/messages/:message_id/reply"
	pathReact  = "/open-apis/im/v1/messages/:message_id/reactions"
	pathFile   = "/open-apis/im/v1/messages/:message_id/resources/:file_key"
	pathBot    = "/open-apis/bot/v3/info"
)

// asText is the content of a text message, asPost that of one with Markdown.
func asText(text string) string { return encode(map[string]string{"text": text}) }

func asPost(md string) string {
	type element struct {
		Tag  string `json:"tag"`
		Text string `json:"text"`
	}
	type locale struct {
		Content [][]element `json:"content"`
	}
	// The element must be alone in its paragraph.
	return encode(map[string]locale{"zh_cn": {Content: [][]element{{{Tag: "md", Text: md}}}}})
}

func encode(v any) string {
	b, err := plainJSON{}.Serialize(v)
	if err != nil {
		return strconv.Quote("") // cannot be: texts only
	}
	return string(b)
}
