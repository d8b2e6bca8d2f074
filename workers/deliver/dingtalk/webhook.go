package dingtalk

import (
	"context"
	"errors"
	"net/url"
	"slices"

	"moltbot/contracts"
	"moltbot/workers/deliver/call"
	"moltbot/workers/deliver/egress"
)

// sessionPath is the one path of a session webhook.
const sessionPath = "/robot/sendBySession"

var errNotOurs = errors.New("its origin or path is not that of DingTalk")

// plainOrigins reads the configured origins. One that cannot be read allows nothing.
func plainOrigins(configured []string) []string {
	var all []string
	for _, o := range configured {
		u, err := contracts.ParseOutbound(o)
		if err == nil && (u.Path == "" || u.Path == "/") && u.RawQuery == "" {
			all = append(all, contracts.OutboundOrigin(u))
		}
	}
	return all
}

// sessionURL lets through a session webhook only. Whoever knows a signature of the
// last hour can write any into a callback, because DingTalk signs no bodies. It is
// put together anew from what was checked.
func sessionURL(raw string, origins []string) (string, error) {
	u, err := contracts.ParseOutbound(raw)
	if err != nil {
		return "", err
	}
	origin := u.Scheme + "://" + u.Host // as it is written: no port unless one is configured
	if !slices.Contains(origins, origin) || u.EscapedPath() != sessionPath {
		return "", errNotOurs
	}
	if _, err := url.ParseQuery(u.RawQuery); err != nil {
		return "", errNotOurs
	}
	return origin + sessionPath + "?" + u.RawQuery, nil
}

// webhook gives the session webhook of a message while it can be used; false: the
// robot has to send. One that was refused is told of: the message is not lost, but
// somebody may have forged it.
func (c *Client) webhook(o *contracts.Origin) (string, bool) {
	if o.Webhook == "" || !c.o.Now().Add(expiryMargin).Before(o.WebhookUntil) {
		return "", false
	}
	to, err := sessionURL(o.Webhook, c.origins)
	if err != nil {
		c.refused(o, err)
		return "", false
	}
	return to, true
}

func (c *Client) refused(o *contracts.Origin, err error) {
	c.o.Refused.Inc()
	c.o.Log.Warn().Err(err).Str("app", o.App).Msg("a session webhook was not called: the message that brought it may be forged")
}

// bySession posts to a session webhook. It needs no token and gets none.
func (c *Client) bySession(ctx context.Context, to string, o *contracts.Origin, body any) error {
	req, err := newRequest(ctx, to, body)
	if err != nil {
		return err
	}
	r, err := call.Do(c.hooks, req)
	if errors.Is(err, egress.ErrAddress) {
		c.refused(o, egress.ErrAddress)
		return &refusal{code: "nothing", hint: "the session webhook leads to an inner address", gone: true}
	}
	if err != nil {
		return err
	}
	return judgeHook(&r)
}
