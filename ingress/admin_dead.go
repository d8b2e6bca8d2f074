package ingress

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"moltbot/contracts"
)

// DeadAdmin knows and changes the dead letters.
type DeadAdmin interface {
	List(context.Context, contracts.DeadFilter) (contracts.AdminDead, error)
	Show(ctx context.Context, letter string, body bool) (contracts.DeadDetail, error)
	Change(context.Context, contracts.DeadChange) (contracts.DeadReply, error)
}

// Limits of a list of dead letters, and of what one is named by.
const (
	someDead = 50
	mostDead = 500
	longDead = 128
)

// Each use that shows what was said, or changes something, is logged: who did what
// with which letter; never what is in it.

// adminDead adds the routes.
func (in *Ingress) adminDead(e *echo.Echo, a *Admin) {
	e.GET("/admin/dead", in.listDead(a))
	e.GET("/admin/dead/:letter", in.showDead(a))
	e.POST("/admin/dead/:letter/replay", in.changeDead(a, contracts.DeadActReplay))
	e.DELETE("/admin/dead/:letter", in.changeDead(a, contracts.DeadActDrop))
	e.POST("/admin/dead/replay", in.changeDeads(a, contracts.DeadActReplay))
	e.POST("/admin/dead/drop", in.changeDeads(a, contracts.DeadActDrop))
}

// listDead is GET /admin/dead.
func (in *Ingress) listDead(a *Admin) echo.HandlerFunc {
	return func(c echo.Context) error {
		f := contracts.DeadFilter{
			Role: c.QueryParam("role"), Code: contracts.Code(c.QueryParam("code")), Channel: contracts.Channel(c.QueryParam("channel")),
			Conversation: c.QueryParam("conversation"), Limit: someDead,
		}
		var err error
		if given := c.QueryParam("limit"); given != "" {
			if f.Limit, err = strconv.Atoi(given); err != nil || f.Limit < 1 || f.Limit > mostDead {
				return fail(contracts.CodeBadRequest, `"limit" must be 1 to 500`)
			}
		}
		if given := c.QueryParam("cursor"); given != "" {
			if f.Until, err = strconv.ParseUint(given, 10, 64); err != nil || f.Until == 0 {
				return fail(contracts.CodeBadRequest, `"cursor" is not one that was given out`)
			}
		}
		if given := c.QueryParam("since"); given != "" {
			if f.Since, err = time.Parse(time.RFC3339, given); err != nil {
				return fail(contracts.CodeBadRequest, `"since" must be a time such as 2026-11-20T08:00:00Z`)
			}
		}
		if err := deadFilter(f); err != nil {
			return err
		}
		page, err := a.Dead.List(c.Request().Context(), f)
		if err != nil {
			return err
		}
		return c.JSON(http.StatusOK, page)
	}
}

// deadFilter refuses what no letter could match, which is likely a slip.
func deadFilter(f contracts.DeadFilter) error {
	if f.Code != "" && !slices.Contains(contracts.Codes(), f.Code) {
		return fail(contracts.CodeBadRequest, `"code" is not a code`)
	}
	channels := []contracts.Channel{"", contracts.ChannelAPI, contracts.ChannelDingTalk, contracts.ChannelFeishu, contracts.ChannelCallback}
	if !slices.Contains(channels, f.Channel) {
		return fail(contracts.CodeBadRequest, `"channel" must be api, dingtalk, feishu or callback`)
	}
	if f.Conversation != "" && !contracts.IsConversation(f.Conversation) {
		return fail(contracts.CodeBadRequest, `"conversation" must be a conversation's name in logs`)
	}
	if len(f.Role) > longDead {
		return fail(contracts.CodeBadRequest, `"role" is too long`)
	}
	return nil
}

// showDead is GET /admin/dead/{letter}, with ?body=true for what was said.
func (in *Ingress) showDead(a *Admin) echo.HandlerFunc {
	return func(c echo.Context) error {
		letter, body, err := deadLetter(c)
		if err != nil {
			return err
		}
		d, err := a.Dead.Show(c.Request().Context(), letter, body)
		if err != nil {
			return err
		}
		action := "show"
		if body {
			action = "show body"
		}
		in.auditDead(c, action, contracts.DeadDone{Sequence: d.Letter.Sequence, ID: d.Letter.ID})
		return c.JSON(http.StatusOK, d)
	}
}

func deadLetter(c echo.Context) (letter string, body bool, err error) {
	if letter = c.Param("letter"); letter == "" || len(letter) > longDead {
		return "", false, fail(contracts.CodeBadRequest, "a dead letter is named by its sequence or its message's id")
	}
	switch c.QueryParam("body") {
	case "", "false":
	case "true":
		body = true
	default:
		return "", false, fail(contracts.CodeBadRequest, `"body" must be true or false`)
	}
	return letter, body, nil
}

// changeDead is POST /admin/dead/{letter}/replay and DELETE /admin/dead/{letter}.
func (in *Ingress) changeDead(a *Admin, action string) echo.HandlerFunc {
	return func(c echo.Context) error {
		letter, _, err := deadLetter(c)
		if err != nil {
			return err
		}
		return in.changed(c, a, contracts.DeadChange{Action: action, Letter: letter})
	}
}

// changeDeads is POST /admin/dead/replay and POST /admin/dead/drop.
func (in *Ingress) changeDeads(a *Admin, action string) echo.HandlerFunc {
	return func(c echo.Context) error {
		var f contracts.DeadFilter
		if err := in.readJSON(c, &f); err != nil {
			return err
		}
		if err := deadFilter(f); err != nil {
			return err
		}
		return in.changed(c, a, contracts.DeadChange{Action: action, Filter: f})
	}
}

// changed logs what was done even where the request then failed.
func (in *Ingress) changed(c echo.Context, a *Admin, change contracts.DeadChange) error {
	reply, err := a.Dead.Change(c.Request().Context(), change)
	for _, d := range reply.Done {
		in.auditDead(c, change.Action, d)
	}
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, reply)
}

func (in *Ingress) auditDead(c echo.Context, action string, d contracts.DeadDone) {
	line := in.o.Log.Info().Str("request_id", requestID(c)).Str("user_id", text(c, keyCaller)).Str("action", action).
		Uint64("sequence", d.Sequence).Str("message_id", d.ID)
	if d.ReplayID != "" {
		line.Str("replay_id", d.ReplayID)
	}
	line.Msg("operator used dead letters")
}
