package dingtalk

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"moltbot/workers/deliver"
	"moltbot/workers/deliver/call"
	"moltbot/workers/deliver/token"
)

const (
	pathToken    = "/v1.0/oauth2/accessToken"
	pathGroup    = "/v1.0/robot/groupMessages/send"
	pathUser     = "/v1.0/robot/oToMessages/batchSend"
	pathDownload = "/v1.0/robot/messageFiles/download"
	pathReact    = "/v1.0/robot/emotion/reply" // in no official text (facts)
)

func (c *Client) fetchToken(ctx context.Context) (token.Token, error) {
	var got struct {
		Token  string `json:"accessToken"`
		Expire int64  `json:"expireIn"` // seconds
	}
	err := c.post(ctx, pathToken, "", map[string]string{"appKey": c.o.ClientID, "appSecret": c.o.ClientSecret}, &got)
	if err != nil {
		return token.Token{}, fmt.Errorf("get a token: %w", err)
	}
	if got.Token == "" || got.Expire <= 0 {
		return token.Token{}, &deliver.Failure{Verdict: deliver.VerdictRetry, Detail: "no_token", Err: errNoToken}
	}
	const day = 24 * 60 * 60
	return token.Token{Value: got.Token, Lives: time.Duration(min(got.Expire, day)) * time.Second}, nil
}

// api makes a call with a token. One that is refused is fetched anew and tried
// once more, and never again.
func (c *Client) api(ctx context.Context, path string, body, into any) error {
	for tried := false; ; tried = true {
		t, err := c.tokens.Get(ctx)
		if err != nil {
			return call.Unsent(err)
		}
		err = c.post(ctx, path, t.Value, body, into)
		if !isToken(err) {
			return err
		}
		c.tokens.Drop(t)
		if tried {
			return err
		}
	}
}

// post makes one call to the API, on a connection of its own: one that was idle may
// have been closed by the other side just when the request left, and then nobody
// knows whether it arrived.
func (c *Client) post(ctx context.Context, path, token string, body, into any) error {
	req, err := newRequest(ctx, c.o.Endpoint+path, body)
	if err != nil {
		return err
	}
	if token != "" {
		req.Header.Set("x-acs-dingtalk-access-token", token)
	}
	r, err := call.Do(c.calls, req)
	if err != nil {
		return err
	}
	return judgeAPI(&r, into)
}

func newRequest(ctx context.Context, url string, body any) (*http.Request, error) {
	b, err := encode(body)
	if err != nil {
		return nil, unsendable(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(b))
	if err != nil {
		return nil, unsendable(errBadURL) // the cause quotes it
	}
	req.Close = true
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("Accept", "application/json") // else some of the API answers XML
	return req, nil
}

// encode writes < > & as they are: limits are in bytes.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
