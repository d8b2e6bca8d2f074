package ingress

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"moltbot/contracts"
)

// ModelAdmin knows and changes the table of models that holds in every process.
// By is who asks.
type ModelAdmin interface {
	ShowModels(context.Context) (contracts.AdminModel, error)
	ChangeModels(ctx context.Context, r contracts.ModelRequest, by string) (contracts.ModelReply, error)
	ReloadModels(ctx context.Context, by string) (contracts.ModelReply, error)
}

// showModels is GET /admin/model.
func (in *Ingress) showModels(a *Admin) echo.HandlerFunc {
	return func(c echo.Context) error {
		m, err := a.Models.ShowModels(c.Request().Context())
		if err != nil {
			return err
		}
		c.Response().Header().Set("ETag", strconv.Quote(strconv.FormatInt(m.Revision, 10)))
		return c.JSON(http.StatusOK, m)
	}
}

// changeModels is PUT /admin/model.
func (in *Ingress) changeModels(a *Admin) echo.HandlerFunc {
	return func(c echo.Context) error {
		var r contracts.ModelRequest
		if err := in.readJSONUpTo(c, max(in.o.MaxBody, contracts.MaxTable+4096), &r); err != nil {
			return err
		}
		if r.Default == "" && r.Routes == nil && r.Table == nil {
			return fail(contracts.CodeBadRequest, `give "default", "routes" or "table"`)
		}
		if err := ifMatch(c, &r); err != nil {
			return err
		}
		reply, err := a.Models.ChangeModels(c.Request().Context(), r, text(c, keyCaller))
		if err != nil {
			return err
		}
		return c.JSON(http.StatusOK, reply)
	}
}

// ifMatch takes the revision that the change is meant for from the header.
func ifMatch(c echo.Context, r *contracts.ModelRequest) error {
	given := c.Request().Header.Get("If-Match")
	if given == "" || given == "*" {
		return nil
	}
	n, err := strconv.ParseInt(strings.Trim(given, `"`), 10, 64)
	if err != nil || n < 0 {
		return fail(contracts.CodeBadRequest, "If-Match must be a revision of the models")
	}
	if r.Revision != nil && *r.Revision != n {
		return fail(contracts.CodeBadRequest, `If-Match and "revision" are not the same`)
	}
	r.Revision = &n
	return nil
}

// reloadModels is POST /admin/model/reload.
func (in *Ingress) reloadModels(a *Admin) echo.HandlerFunc {
	return func(c echo.Context) error {
		reply, err := a.Models.ReloadModels(c.Request().Context(), text(c, keyCaller))
		if err != nil {
			return err
		}
		return c.JSON(http.StatusOK, reply)
	}
}
