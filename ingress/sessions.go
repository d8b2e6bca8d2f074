package ingress

import (
	"context"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"moltbot/contracts"
)

// Sessions knows what is kept of conversations.
type Sessions interface {
	// List gives a page of a caller's sessions, the latest first, behind a cursor.
	List(ctx context.Context, caller, after string, limit int) (contracts.SessionPage, error)
	// Read gives a session with a span of its rounds. It costs the same whether or
	// not there is one.
	Read(ctx context.Context, conversation string, span contracts.SessionSpan) (d contracts.SessionDetail, found bool, err error)
	// Erase removes everything that is kept of a conversation.
	Erase(ctx context.Context, caller, conversation string) error
}

const (
	somePage   = 20
	mostPage   = 100
	mostCursor = 128 // characters
)

// listSessions is GET /api/sessions: the caller's own.
func (in *Ingress) listSessions(c echo.Context) error {
	who, err := in.enter(c)
	if err != nil {
		return err
	}
	limit, after, err := pageOf(c, "cursor")
	if err != nil {
		return err
	}
	page, err := in.o.Sessions.List(c.Request().Context(), userID(who.User), after, limit)
	if err != nil {
		return err
	}
	for i := range page.Sessions {
		page.Sessions[i].Conversation = "" // nobody needs to know it but operators
	}
	return c.JSON(http.StatusOK, page)
}

// showSession is GET /api/sessions/{id}, with format=export GET .../export.
func (in *Ingress) showSession(c echo.Context) error {
	who, session, err := in.ownSession(c)
	if err != nil {
		return err
	}
	switch c.QueryParam("format") {
	case "":
	case "export":
		return in.export(c, who, session)
	default:
		return fail(contracts.CodeBadRequest, `"format" may only be export`)
	}
	span, err := spanOf(c)
	if err != nil {
		return err
	}
	d, err := in.readSession(c, who, session, span)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, d)
}

// exportSession is GET /api/sessions/{id}/export.
func (in *Ingress) exportSession(c echo.Context) error {
	who, session, err := in.ownSession(c)
	if err != nil {
		return err
	}
	return in.export(c, who, session)
}

func (in *Ingress) export(c echo.Context, who Identity, session string) error {
	d, err := in.readSession(c, who, session, contracts.SessionSpan{})
	if err != nil {
		return err
	}
	// The id has no character that would need quoting.
	c.Response().Header().Set(echo.HeaderContentDisposition, `attachment; filename="session-`+session+`.json"`)
	return c.JSONPretty(http.StatusOK, contracts.SessionExport{
		Version: contracts.SessionExportVersion, ExportedAt: in.o.Now().UTC(), Session: d.Session, Summary: d.Summary, Turns: d.Turns,
		Unreadable: d.Unreadable,
	}, "  ")
}

// readSession gives a session of who's own. Another's is none: its name is made of
// the caller and the id, so it is a key that does not exist, and is looked up alike.
func (in *Ingress) readSession(c echo.Context, who Identity, session string, span contracts.SessionSpan) (contracts.SessionDetail, error) {
	d, found, err := in.o.Sessions.Read(c.Request().Context(), in.conversation(who, session), span)
	if err == nil && !found {
		err = noSession()
	}
	d.Session.ID, d.Session.Channel, d.Session.Conversation = session, contracts.ChannelAPI, ""
	return d, err
}

func noSession() error { return fail(contracts.CodeNotFound, "there is no such session") }

// deleteSession is DELETE /api/sessions/{id}. A session that does not exist is
// as good as forgotten, so the answer is the same.
func (in *Ingress) deleteSession(c echo.Context) error {
	who, session, err := in.ownSession(c)
	if err != nil {
		return err
	}
	if err := in.o.Sessions.Erase(c.Request().Context(), userID(who.User), in.conversation(who, session)); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// enter finds out who calls and takes one request of its rate.
func (in *Ingress) enter(c echo.Context) (Identity, error) {
	who, err := in.authenticate(c, "")
	if err != nil {
		return who, err
	}
	return who, in.spend(c, who)
}

// ownSession enters and reads which session of the caller's is meant.
func (in *Ingress) ownSession(c echo.Context) (who Identity, session string, err error) {
	if who, err = in.enter(c); err != nil {
		return who, "", err
	}
	session = c.Param("id")
	if !sessionForm.MatchString(session) {
		return who, "", fail(contracts.CodeBadRequest, "a session id is 1 to 64 of A-Z a-z 0-9 _ -")
	}
	return who, session, nil
}

// spanOf reads which rounds are wanted.
func spanOf(c echo.Context) (contracts.SessionSpan, error) {
	limit, before, err := pageOf(c, "before")
	if before != "" && err == nil {
		if _, bad := contracts.ParseID(before); bad != nil {
			err = fail(contracts.CodeBadRequest, `"before" is not one that was given out`)
		}
	}
	return contracts.SessionSpan{Before: before, Limit: limit}, err
}

// pageOf reads how much is wanted, and from where on.
func pageOf(c echo.Context, name string) (limit int, cursor string, err error) {
	limit = somePage
	if text := c.QueryParam("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > mostPage {
			return 0, "", fail(contracts.CodeBadRequest, `"limit" must be 1 to 100`)
		}
	}
	if cursor = c.QueryParam(name); len(cursor) > mostCursor {
		return 0, "", fail(contracts.CodeBadRequest, `"`+name+`" is not one that was given out`)
	}
	return limit, cursor, nil
}
