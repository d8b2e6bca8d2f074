package ingress

import (
	"context"
	"crypto/rand"

	"moltbot/ingress/im"
)

// takeEvent stores the messages of an event that app got. Nothing may be
// acknowledged to the platform before it gave nil.
func (in *Ingress) takeEvent(ctx context.Context, app *ChannelApp, e im.Event) error {
	return in.take(ctx, app, e, rand.Text())
}

func (in *Ingress) take(ctx context.Context, app *ChannelApp, e im.Event, request string) error {
	return nil
}
