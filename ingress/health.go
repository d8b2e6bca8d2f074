package ingress

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"moltbot/contracts"
)

func (in *Ingress) health(c echo.Context) error {
	return c.JSON(http.StatusOK, contracts.Health{Status: "healthy", Uptime: int64(in.o.Now().Sub(in.started).Seconds())})
}

// live says that the process answers. It asks no dependency, so that a broken
// broker does not make an orchestrator restart every replica.
func (in *Ingress) live(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]string{"status": "live"})
}

func (in *Ingress) readyz(c echo.Context) error {
	r := in.ready.Look(c.Request().Context())
	status := http.StatusOK
	if r.Status != contracts.StatusReady {
		status = http.StatusServiceUnavailable
	}
	return c.JSON(status, r)
}
