package ingress

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"moltbot/contracts"
)

// Operators read and erase sessions of callers. Each use is logged: who did what,
// and with whose conversation, by its name in logs and Redis; never what was said.

// adminSessions adds the routes.
func (in *Ingress) adminSessions(e *echo.Echo, a *Admin) {
	e.GET("/admin/sessions", in.adminList)
	e.GET("/admin/sessions/:id", in.adminShow(a))
	e.DELETE("/admin/sessions/:id", in.adminErase(a))
}

// adminList is GET /admin/sessions?caller=WHO.
func (in *Ingress) adminList(c echo.Context) error {
	caller, err := callerParam(c)
	if err != nil {
		return err
	}
	if caller == "" {
		return fail(contracts.CodeBadRequest, `"caller" is needed: whose sessions, such as api:alice`)
	}
	limit, after, err := pageOf(c, "cursor")
	if err != nil {
		return err
	}
	in.audit(c, "list", caller, "")
	page, err := in.o.Sessions.List(c.Request().Context(), caller, after, limit)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, page)
}

// adminShow is GET /admin/sessions/{id}: a session of caller=WHO by its id, or any
// by its name in logs.
func (in *Ingress) adminShow(a *Admin) echo.HandlerFunc {
	return func(c echo.Context) error {
		span, err := spanOf(c)
		if err != nil {
			return err
		}
		caller, conversation, err := in.meant(c, a)
		if err != nil {
			return err
		}
		in.audit(c, "show", caller, conversation)
		d, found, err := in.o.Sessions.Read(c.Request().Context(), conversation, span)
		if err == nil && !found {
			err = noSession()
		}
		if err != nil {
			return err
		}
		return c.JSON(http.StatusOK, d)
	}
}

// adminErase is DELETE /admin/sessions/{id}, which is meant as for adminShow.
func (in *Ingress) adminErase(a *Admin) echo.HandlerFunc {
	return func(c echo.Context) error {
		caller, conversation, err := in.meant(c, a)
		if err != nil {
			return err
		}
		in.audit(c, "erase", caller, conversation)
		if err := in.o.Sessions.Erase(c.Request().Context(), caller, conversation); err != nil {
			return err
		}
		return c.NoContent(http.StatusNoContent)
	}
}

// meant gives the conversation that a request is about, and whose it is. By its
// name alone it is found as long as the record of its caller is kept.
func (in *Ingress) meant(c echo.Context, a *Admin) (caller, conversation string, err error) {
	id := c.Param("id")
	if caller, err = callerParam(c); err != nil {
		return "", "", err
	}
	if !sessionForm.MatchString(id) {
		return "", "", fail(contracts.CodeBadRequest, "a session id is 1 to 64 of A-Z a-z 0-9 _ -")
	}
	if caller != "" {
		channel, user, _ := strings.Cut(caller, ":")
		return caller, in.o.Namer.Conversation(contracts.Scope{Channel: contracts.Channel(channel), Caller: user, Session: id}), nil
	}
	if !contracts.IsConversation(id) {
		return "", "", fail(contracts.CodeBadRequest, `give "caller", or the session's name in logs instead of its id`)
	}
	about, found, err := a.Owner(c.Request().Context(), id)
	if err == nil && !found {
		err = noSession()
	}
	return about.Caller, id, err
}

// callerParam is the caller as in the log; a name alone is one of the API.
func callerParam(c echo.Context) (string, error) {
	caller := c.QueryParam("caller")
	if len(caller) > mostCursor {
		return "", fail(contracts.CodeBadRequest, `"caller" is too long`)
	}
	if caller == "" || strings.Contains(caller, ":") {
		return caller, nil
	}
	return userID(caller), nil
}

func (in *Ingress) audit(c echo.Context, what, caller, conversation string) {
	line := in.o.Log.Info().Str("request_id", requestID(c)).Str("user_id", text(c, keyCaller)).Str("action", "session "+what).Str("caller", caller)
	if conversation != "" {
		line.Str("conversation", conversation)
	}
	line.Msg("operator used sessions")
}
