package ingress

import (
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"moltbot/contracts"
)

// listWorkers is GET /admin/workers.
func (in *Ingress) listWorkers(a *Admin) echo.HandlerFunc {
	return func(c echo.Context) error {
		w, err := a.Workers(c.Request().Context())
		if err != nil {
			return err
		}
		return c.JSON(http.StatusOK, w)
	}
}

// resizePool is PUT /admin/pools/{pool}.
func (in *Ingress) resizePool(a *Admin) echo.HandlerFunc {
	return func(c echo.Context) error {
		pool := contracts.Pool(c.Param("pool"))
		if !pool.Known() {
			return fail(contracts.CodeNotFound, fmt.Sprintf("no pool %q; there are %v", clip(string(pool), 32), contracts.Pools()))
		}
		var r contracts.PoolRequest
		if err := in.readJSON(c, &r); err != nil {
			return err
		}
		if (r.Slots != nil) == r.Default {
			return fail(contracts.CodeBadRequest, `give either "slots" or "default": true`)
		}
		if r.Slots != nil {
			if err := contracts.CheckSlots(*r.Slots); err != nil {
				return fail(contracts.CodeBadRequest, err.Error())
			}
		}
		reply, err := a.Resize(c.Request().Context(), pool, r, text(c, keyCaller))
		if err != nil {
			return err
		}
		return c.JSON(http.StatusOK, reply)
	}
}
