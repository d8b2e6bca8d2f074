package ingress

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"moltbot/contracts"
)

// chat is POST /api/chat: check, store, wait, answer.
func (in *Ingress) chat(c echo.Context) error {
	a, err := in.admit(c)
	if err != nil {
		return err
	}
	c.Set(keyMessageID, a.message.ID)
	return in.storeAndWait(c, a)
}

// admit turns a request into a message, or refuses it.
func (in *Ingress) admit(c echo.Context) (*accepted, error) {
	var r contracts.ChatRequest
	if _, err := bearer(c); err != nil {
		return nil, in.unauthorized(c, "the Authorization header must be \"Bearer <token>\", once")
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
	if err := in.check(r); err != nil {
		return nil, err
	}
	return in.accept(c, who, r)
}

// storeAndWait and what it calls keep their frames small: a request that waits
// holds its stack, which doubles if storing needs more than 8 KiB of it.
func (in *Ingress) storeAndWait(c echo.Context, a *accepted) error {
	if answered, err := in.answeredBefore(c, a); answered || err != nil {
		return err
	}
	patience := in.patience(a.patience)
	if patience > 0 {
		a.message.ReplyTo = in.replies.subject
	}
	// Register before publishing: a fast worker may answer before publish returns.
	w := in.replies.expect(a.message.ID)
	defer w.cancel()
	known, err := in.stored(c.Request().Context(), a)
	if err != nil {
		return err
	}
	id, how := a.id, wait{patience, known || a.repeated} // not a.id itself, which would keep the text in memory
	return in.answerOf(c, &id, a.message.SessionID, w, how)
}

// answeredBefore answers a repeated request whose message is finished.
func (in *Ingress) answeredBefore(c echo.Context, a *accepted) (bool, error) {
	result, found, err := in.known(c.Request().Context(), a)
	if err != nil || !found {
		return false, err
	}
	in.metrics.accepted(true)
	return true, in.answer(c, &result)
}

// stored publishes the message, timed and counted. Stored or not must not depend
// on the client's patience.
func (in *Ingress) stored(ctx context.Context, a *accepted) (known bool, err error) {
	if err := in.afford(ctx, a); err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*in.o.Publish)
	defer cancel()
	ctx, end := in.startStore(ctx)
	began := time.Now()
	known, err = in.publish.publish(ctx, &a.message, a.repeated)
	in.metrics.store.Observe(time.Since(began).Seconds())
	end(err)
	if err == nil {
		in.metrics.accepted(known || a.repeated)
	}
	return known, err
}

// patience is how long a request may wait. When too many wait already it is
// none: the message is accepted all the same, and the client fetches the answer.
func (in *Ingress) patience(want time.Duration) time.Duration {
	if in.replies.load() >= in.o.MaxWaiting {
		return 0
	}
	return min(want, in.o.Cap)
}

// chatResult is GET /api/chat/{id}. With wait=SECONDS it waits for the answer.
func (in *Ingress) chatResult(c echo.Context) error {
	who, err := in.authenticate(c, "")
	if err != nil {
		return err
	}
	if err := in.spend(c, who); err != nil {
		return err
	}
	patience, err := in.waitParam(c)
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
	case found:
		return in.answer(c, &r)
	case done:
		c.Set(keyMessageID, id.String())
		return fail(contracts.CodeResultExpired, "the message was answered, but its answer is no longer kept")
	case in.o.Now().Sub(id.At) > in.o.DoneTTL:
		return unknown
	}
	c.Set(keyMessageID, id.String())
	patience = in.patience(patience) // before it counts itself
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
	return in.answer(c, r)
}

func (in *Ingress) waitParam(c echo.Context) (time.Duration, error) {
	text := c.QueryParam("wait")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 3600 {
		return 0, fail(contracts.CodeBadRequest, `"wait" must be 0 to 3600 seconds`)
	}
	return time.Duration(n) * time.Second, nil
}

// deleteSession is DELETE /api/sessions/{id}. A session that does not exist is
// as good as forgotten, so the answer is the same.
func (in *Ingress) deleteSession(c echo.Context) error {
	who, err := in.authenticate(c, "")
	if err != nil {
		return err
	}
	if err := in.spend(c, who); err != nil {
		return err
	}
	session := c.Param("id")
	if !sessionForm.MatchString(session) {
		return fail(contracts.CodeBadRequest, "a session id is 1 to 64 of A-Z a-z 0-9 _ -")
	}
	if err := in.o.Store.Reset(c.Request().Context(), in.conversation(who, session)); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// answer writes a final result: a reply, or the problem it ended with.
func (in *Ingress) answer(c echo.Context, r *contracts.Result) error {
	c.Set(keyMessageID, r.ID)
	if r.Code != "" {
		return fail(r.Code, r.Detail)
	}
	return c.JSON(http.StatusOK, contracts.ChatReply{
		ID: r.ID, SessionID: r.SessionID, Status: contracts.StatusDone, Reply: r.Reply, Model: r.Model,
		ModelVersion: r.ModelVersion, FinishReason: r.Finish, Usage: &r.Usage, AnsweredAt: &r.At, Cached: r.Cached,
	})
}

// pending says where the answer will be.
func (in *Ingress) pending(c echo.Context, id *contracts.ID, session string) error {
	h := c.Response().Header()
	h.Set(echo.HeaderLocation, "/api/chat/"+url.PathEscape(id.String())) // a replay's id holds a '#'
	h.Set("Retry-After", "1")
	return c.JSON(http.StatusAccepted, contracts.ChatReply{ID: id.String(), SessionID: session, Status: contracts.StatusPending})
}
