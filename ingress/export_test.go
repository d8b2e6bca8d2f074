package ingress

import (
	"context"

	"github.com/labstack/echo/v4"

	"moltbot/contracts"
	"moltbot/ingress/im"
)

// Abandon is for tests.
func (in *Ingress) Abandon(id contracts.ID) { in.abandon(id) }

// Routes is for tests.
func (in *Ingress) Routes() []*echo.Route { return in.echo.Routes() }

// TakeEvent is for tests.
func (in *Ingress) TakeEvent(ctx context.Context, app *ChannelApp, e im.Event) error {
	return in.takeEvent(ctx, app, e)
}
