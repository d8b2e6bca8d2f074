package ingress

import (
	"cmp"
	"net/http"

	"github.com/labstack/echo/v4"

	"moltbot/contracts"
)

// showUsage is GET /admin/usage: of a day, or of the days from one to another;
// without either of today.
func (in *Ingress) showUsage(a *Admin) echo.HandlerFunc {
	return func(c echo.Context) error {
		day, from, to := c.QueryParam("day"), c.QueryParam("from"), c.QueryParam("to")
		if day != "" && (from != "" || to != "") {
			return fail(contracts.CodeBadRequest, `"day" cannot go with "from" and "to"`)
		}
		last := cmp.Or(to, day, contracts.Day(in.o.Now()))
		u, err := a.Usage(c.Request().Context(), cmp.Or(from, day, last), last)
		if err != nil {
			return err
		}
		return c.JSON(http.StatusOK, u)
	}
}

// purgeCache is DELETE /admin/cache, with model=NAME for one model only.
func (in *Ingress) purgeCache(a *Admin) echo.HandlerFunc {
	return func(c echo.Context) error {
		name := c.QueryParam("model")
		if name != "" && !modelForm.MatchString(name) {
			return fail(contracts.CodeBadRequest, `"model" is not the name of a model`)
		}
		if err := a.Purge(c.Request().Context(), name); err != nil {
			return err
		}
		in.o.Log.Info().Str("model", name).Str("by", text(c, keyCaller)).Msg("cached answers purged")
		return c.JSON(http.StatusOK, contracts.CachePurged{Model: name})
	}
}
