package ingress

import (
	"github.com/labstack/echo/v4"

	"moltbot/contracts"
)

// mayCall refuses a callback_url that is not plain, or whose host the operator has
// not allowed this caller. Its address is checked where it is dialled.
func (in *Ingress) mayCall(who Identity, raw string) error {
	if raw == "" {
		return nil
	}
	if in.o.Callbacks.None() {
		return fail(contracts.CodeUnsupported, `"callback_url" is not served here: the operator allows no host (callback.hosts)`)
	}
	u, err := contracts.ParseOutbound(raw)
	if err != nil {
		return fail(contracts.CodeBadRequest, `field "callback_url": `+err.Error())
	}
	if !in.o.Callbacks.Allow(who.User, u) {
		return fail(contracts.CodeForbidden, `the operator does not allow you this host in "callback_url", or not with http: (callback.hosts)`)
	}
	return nil
}

// storeForCallback stores a message whose answer is sent to its callback URL, and
// says where it will be too. A repeat gets the same, whatever became of it.
func (in *Ingress) storeForCallback(c echo.Context, a *accepted) error {
	ctx := c.Request().Context()
	a.patience = 0
	known, err := in.answeredBefore(ctx, a)
	if err == nil && known == nil {
		_, err = in.begin(ctx, a)
	}
	if err != nil {
		return err
	}
	return in.pending(c, &a.id, a.message.SessionID)
}

const keyDelivery = "delivery"

// tellDelivery adds to an answer what became of it on its way out. An answer
// without it is better than none.
func (in *Ingress) tellDelivery(c echo.Context, id contracts.ID) {
	if in.o.Deliveries == nil {
		return
	}
	d, found, err := in.o.Deliveries.Delivery(c.Request().Context(), id)
	if err != nil {
		in.o.Log.Warn().Err(err).Str("message_id", id.String()).Msg("delivery not read, the answer goes without it")
	}
	if err == nil && found {
		c.Set(keyDelivery, &d)
	}
}

func deliveryOf(c echo.Context) *contracts.Delivery {
	d, _ := c.Get(keyDelivery).(*contracts.Delivery)
	return d
}
