package ingress

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// openAdminKeys adds the routes of the sealing keys.
func (in *Ingress) openAdminKeys(e *echo.Echo, a *Admin) {
	if a.Keys != nil {
		e.GET("/admin/keys", func(c echo.Context) error {
			k, err := a.Keys(c.Request().Context())
			if err != nil {
				return err
			}
			return c.JSON(http.StatusOK, k)
		})
	}
	if a.Reseal != nil {
		e.POST("/admin/keys/reseal", func(c echo.Context) error {
			if err := a.Reseal(c.Request().Context(), text(c, keyCaller)); err != nil {
				return err
			}
			return c.JSON(http.StatusOK, struct{}{})
		})
	}
}
