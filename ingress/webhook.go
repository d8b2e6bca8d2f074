package ingress

import (
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"moltbot/contracts"
	"moltbot/ingress/im"
)

// platform is what the callbacks of one platform have in common.
type platform struct {
	channel contracts.Channel
	most    int64  // bytes of a body
	ok      []byte // body of the answer where the event wants none of its own
}

// The largest callbacks that are read. DingTalk takes texts of 20 000 bytes, which
// are 40 KB with every character escaped. Feishu takes 150 KB (facts), and an event
// of it has under 300 KB when it is encrypted. Both leave room; a larger body is not
// read to its end, whoever signed it.
const (
	maxDingTalk = 64 << 10
	maxFeishu   = 512 << 10
)

func dingtalkPlatform() *platform {
	return &platform{channel: contracts.ChannelDingTalk, most: maxDingTalk}
}

func feishuPlatform() *platform {
	return &platform{channel: contracts.ChannelFeishu, most: maxFeishu, ok: []byte(`{"msg":"success"}`)}
}

// webhook takes the callbacks of a platform: the header is looked at, then the body
// is read, once; what it says is verified, parsed and stored, in this order, before
// anything is acknowledged. No limit of callers is asked: a platform calls from a
// few addresses, and a 429 makes it drop or reorder what it delivers.
func (in *Ingress) webhook(p *platform) echo.HandlerFunc {
	return func(c echo.Context) error {
		began := time.Now()
		kind, err := in.callback(c, p)
		in.metrics.called(p.channel, kind, err, time.Since(began))
		return err
	}
}

func (in *Ingress) callback(c echo.Context, p *platform) (kind string, err error) {
	app := in.app(p.channel, c.Param("app"))
	if app == nil {
		return "", fail(contracts.CodeNotFound, "there is no such application")
	}
	h := c.Request().Header
	if err := app.Webhook.Check(h, in.o.Now()); err != nil {
		// net/http would read the body first, and a stranger may take his time with it.
		c.Response().Header().Set("Connection", "close")
		return "", in.uncalled(c, app, err)
	}
	body, err := readBody(c, p.most)
	if err != nil {
		return "", err
	}
	e, err := app.Webhook.Read(h, body, in.o.Now())
	if err != nil {
		return e.Kind, in.uncalled(c, app, err)
	}
	if err := in.take(c.Request().Context(), app, &e, requestID(c)); err != nil {
		return e.Kind, in.uncalled(c, app, err)
	}
	return e.Kind, p.acknowledge(c, e.Body)
}

func (p *platform) acknowledge(c echo.Context, body []byte) error {
	if len(body) == 0 {
		body = p.ok
	}
	if len(body) == 0 {
		return c.NoContent(http.StatusOK)
	}
	return c.Blob(http.StatusOK, echo.MIMEApplicationJSON, body)
}

// app finds the application that a callback is for.
func (in *Ingress) app(channel contracts.Channel, name string) *ChannelApp {
	if name == "" {
		name = contracts.DefaultApp
	}
	for i := range in.o.Apps {
		if a := &in.o.Apps[i]; a.Channel == channel && a.Name == name && a.Webhook != nil {
			return a
		}
	}
	return nil
}

// uncalled is the refusal of a callback. That of a bad signature is always the
// same, and counts against the address that it came from; only the callbacks that
// fail do, so that a stranger cannot keep a platform out.
func (in *Ingress) uncalled(c echo.Context, app *ChannelApp, err error) error {
	switch {
	case errors.Is(err, im.ErrSignature):
		return in.unauthorized(c, im.ErrSignature.Error())
	case errors.Is(err, im.ErrForeign):
		in.o.Log.Warn().Str("request_id", requestID(c)).Str("channel", string(app.Channel)).Str("app", app.Name).
			Msg("signed callback of another application refused")
		return fail(contracts.CodeForbidden, im.ErrForeign.Error())
	case errors.Is(err, im.ErrMalformed):
		in.o.Log.Warn().Err(err).Str("request_id", requestID(c)).Str("channel", string(app.Channel)).Str("app", app.Name).
			Msg("signed callback not understood")
		return fail(contracts.CodeBadRequest, im.ErrMalformed.Error())
	}
	return err
}
