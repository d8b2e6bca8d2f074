package ingress

import (
	"github.com/labstack/echo/v4"

	"moltbot/contracts"
)

// Abandon is for tests.
func (in *Ingress) Abandon(id contracts.ID) { in.abandon(id) }

// Routes is for tests.
func (in *Ingress) Routes() []*echo.Route { return in.echo.Routes() }
