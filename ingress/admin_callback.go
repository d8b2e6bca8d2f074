package ingress

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"moltbot/contracts"
)

// openAdminCallback adds the route of callback secrets.
func (in *Ingress) openAdminCallback(e *echo.Echo, a *Admin) {
	if a.CallbackSecret == nil {
		return
	}
	e.POST("/admin/callback", func(c echo.Context) error {
		var r contracts.CallbackSecretRequest
		if err := in.readJSON(c, &r); err != nil {
			return err
		}
		s, err := a.CallbackSecret(r)
		if err != nil {
			return &contracts.Error{Code: contracts.CodeBadRequest, Message: "no secret for this user", Err: err}
		}
		in.o.Log.Info().Str("user_id", text(c, keyCaller)).Str("caller", userID(r.User)).Int("generation", s.Generation).Msg("callback secret shown")
		return c.JSON(http.StatusOK, s)
	})
}
