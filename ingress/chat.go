package ingress

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"moltbot/contracts"
)

// chat is POST /api/chat, and /api/chat/<route>: check, store, wait, answer.
func (in *Ingress) chat(c echo.Context) error {
	a, err := in.admit(c)
	if err != nil {
		return err
	}
	c.Set(keyMessageID, a.message.ID)
	if a.message.Callback != "" {
		return in.storeForCallback(c, a)
	}
	if a.message.Flags.Has(contracts.FlagStream) {
		return in.storeAndStream(c, a)
	}
	return in.storeAndWait(c, a)
}

// admit turns a request into a message, or refuses it.
func (in *Ingress) admit(c echo.Context) (*accepted, error) {
	var r contracts.ChatRequest
	if _, err := bearer(c); err != nil {
		return nil, in.unauthorized(c, bearerForm)
	}
	if err := in.readJSON(c, &r); err != nil {
		return nil, err
	}
	who, err := in.authenticate(c, r.Token)
	if err != nil {
		return nil, err
	}
	if err := in.spend(c, who); err != nil {
		return nil, err
	}
	route, err := routeOf(c.Request().URL.Path)
	if err != nil {
		return nil, err
	}
	body := in.chatBody(r, route)
	if err := in.clean(&r); err != nil {
		return nil, err
	}
	if err := in.check(r); err != nil {
		return nil, err
	}
	if err := in.mayCall(who, r.CallbackURL); err != nil {
		return nil, err
	}
	d := in.chatDraft(r, route, body)
	switch {
	case r.Model != "":
		err = in.mayUse(who, r.Model)
	case d.command == "" && r.SessionID == "": // in a session a model may be chosen, which workers know
		err = in.mayUseRouted(who, route, r.Message)
	}
	if err != nil {
		return nil, err
	}
	return in.accept(c, who, d)
}

// storeAndWait writes the result, or says where it will be.
func (in *Ingress) storeAndWait(c echo.Context, a *accepted) error {
	r, err := in.exchange(c.Request().Context(), a, in.o.Cap)
	switch {
	case err != nil:
		return err
	case r == nil:
		return in.pending(c, &a.id, a.message.SessionID)
	}
	return in.answer(c, r)
}

// exchange stores a message and gives its result, or nil where there is none
// yet. It and what it calls keep their frames small: a request that waits holds
// its stack, which doubles if storing needs more than 8 KiB of it.
func (in *Ingress) exchange(ctx context.Context, a *accepted, longest time.Duration) (*contracts.Result, error) {
	if r, err := in.answeredBefore(ctx, a); r != nil || err != nil {
		return r, err
	}
	a.patience = in.patience(a.patience, longest)
	// Register before publishing: a fast worker may answer before publish returns.
	w := in.replies.expect(a.message.ID)
	defer w.cancel()
	how, err := in.begin(ctx, a)
	if err != nil {
		return nil, err
	}
	return in.await(ctx, &a.id, w, how), nil
}

// begin stores a message for somebody who is registered to wait, and says how to
// wait for what becomes of it.
func (in *Ingress) begin(ctx context.Context, a *accepted) (wait, error) {
	if a.patience > 0 {
		a.message.ReplyTo = in.replies.subject
	}
	known, err := in.stored(ctx, a)
	a.forget()
	return wait{a.patience, known || a.repeated}, err
}

// answeredBefore gives the result of a repeated request whose message is finished.
func (in *Ingress) answeredBefore(ctx context.Context, a *accepted) (*contracts.Result, error) {
	result, found, err := in.known(ctx, a)
	if err != nil || !found {
		return nil, err
	}
	in.metrics.accepted(true)
	return &result, nil
}

// stored publishes the message, timed and counted. Stored or not must not depend
// on the client's patience.
func (in *Ingress) stored(ctx context.Context, a *accepted) (known bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*in.o.Publish)
	defer cancel()
	if err := in.afford(ctx, a); err != nil {
		return false, err
	}
	ctx, end := in.startStore(ctx)
	began := time.Now()
	if a.stops() {
		known, err = in.storeStop(ctx, a)
	} else {
		known, err = in.publish.publish(ctx, &a.message, a.repeated)
	}
	in.metrics.store.Observe(time.Since(began).Seconds())
	end(err)
	if err == nil {
		in.metrics.accepted(known || a.repeated)
	}
	return known, err
}

// patience is how long a request may wait. When too many wait already it is
// none: the message is accepted all the same, and the client fetches the answer.
func (in *Ingress) patience(want, longest time.Duration) time.Duration {
	if in.replies.load() >= in.o.MaxWaiting {
		return 0
	}
	return min(want, longest)
}

// chatResult is GET /api/chat/{id}. With wait=SECONDS it waits for the answer; a
// client that takes a stream of events reads it while it is made.
func (in *Ingress) chatResult(c echo.Context) error {
	who, err := in.authenticate(c, "")
	if err != nil {
		return err
	}
	if err := in.spend(c, who); err != nil {
		return err
	}
	streams, longest := wantsStream(c), in.o.Cap
	if streams {
		longest = in.o.StreamCap
	}
	patience, err := in.waitParam(c, streams)
	if err != nil {
		return err
	}
	id, err := contracts.ParseID(c.Param("id"))
	unknown := fail(contracts.CodeNotFound, "there is no such message")
	if err != nil || !in.o.Namer.Genuine(id, who.User) {
		return unknown // no look-up for made-up ids, and the same answer for another caller's
	}
	ctx := c.Request().Context()
	r, found, done, err := in.o.Store.Result(ctx, id)
	switch {
	case err != nil:
		return err
	case found && streams:
		c.Set(keyMessageID, id.String())
		return in.resume(c, id, &r, 0)
	case found:
		in.tellDelivery(c, id)
		return in.answer(c, &r)
	case done:
		c.Set(keyMessageID, id.String())
		return fail(contracts.CodeResultExpired, "the message was answered, but its answer is no longer kept")
	case in.o.Now().Sub(id.At) > in.o.DoneTTL:
		return unknown
	}
	c.Set(keyMessageID, id.String())
	patience = in.patience(patience, longest) // before it counts itself
	if streams {
		return in.resume(c, id, nil, patience)
	}
	w := in.replies.expect(id.String())
	defer w.cancel()
	return in.answerOf(c, &id, "", w, wait{patience, true})
}

// answerOf waits for the result and writes it, or says where it will be.
func (in *Ingress) answerOf(c echo.Context, id *contracts.ID, session string, w *waiter, how wait) error {
	r := in.await(c.Request().Context(), id, w, how)
	if r == nil {
		return in.pending(c, id, session)
	}
	in.tellDelivery(c, *id)
	return in.answer(c, r)
}

// waitParam is how long the client wants to wait: as long as it may where it
// reads along and does not say.
func (in *Ingress) waitParam(c echo.Context, streams bool) (time.Duration, error) {
	text := c.QueryParam("wait")
	if text == "" && streams {
		return in.o.StreamCap, nil
	}
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 3600 {
		return 0, fail(contracts.CodeBadRequest, `"wait" must be 0 to 3600 seconds`)
	}
	return time.Duration(n) * time.Second, nil
}

// answer writes a final result: a reply, or the problem it ended with.
func (in *Ingress) answer(c echo.Context, r *contracts.Result) error {
	c.Set(keyMessageID, r.ID)
	if r.Code != "" {
		return fail(r.Code, r.Detail)
	}
	reply := contracts.NewChatReply(r)
	reply.Delivery = deliveryOf(c)
	return c.JSON(http.StatusOK, &reply)
}

// pending says where the answer will be.
func (in *Ingress) pending(c echo.Context, id *contracts.ID, session string) error {
	h := c.Response().Header()
	h.Set(echo.HeaderLocation, location(id))
	h.Set("Retry-After", "1")
	return c.JSON(http.StatusAccepted, contracts.ChatReply{ID: id.String(), SessionID: session, Status: contracts.StatusPending})
}
