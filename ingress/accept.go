package ingress

import (
	"cmp"
	"context"
	"crypto/rand"
	"regexp"
	"time"

	"github.com/labstack/echo/v4"

	"moltbot/contracts"
)

// sessionForm is what a caller may call a session or a model.
var (
	sessionForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	modelForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}$`)
	keyForm     = regexp.MustCompile(`^[\x21-\x7e]{1,255}$`)
)

// accepted is a request on its way into the queue.
type accepted struct {
	message contracts.Message
	id      contracts.ID
	keyed   bool // it came with an Idempotency-Key
	// repeated says that this Idempotency-Key was seen before.
	repeated bool
	patience time.Duration
	budget   int64                 // of the caller, in tokens a day; 0: none
	command  contracts.CommandName // empty: it is for a model
}

// forget lets go of what was stored, so that a request that waits does not hold it.
func (a *accepted) forget() { a.message.Text, a.message.Prompt, a.message.Params = "", "", "" }

// check refuses what a message must not be, beside its text.
func (in *Ingress) check(r contracts.ChatRequest) error {
	switch {
	case r.SessionID != "" && !sessionForm.MatchString(r.SessionID):
		return fail(contracts.CodeBadRequest, `field "session_id" must be 1 to 64 of A-Z a-z 0-9 _ -`)
	case r.Model != "" && !modelForm.MatchString(r.Model):
		return fail(contracts.CodeBadRequest, `field "model" is not the name of a model`)
	case r.Timeout != nil && (*r.Timeout < 0 || *r.Timeout > 3600):
		return fail(contracts.CodeBadRequest, `field "timeout" must be 0 to 3600 seconds`)
	case r.CallbackURL != "" && r.Stream:
		return fail(contracts.CodeBadRequest, `"callback_url" and "stream" do not go together`)
	}
	return nil
}

// draft is what a client wants said, before it has a name.
type draft struct {
	message contracts.Message // what the client said of it; accept adds the rest
	// body is a digest of all that a request with the same Idempotency-Key must
	// have in common.
	body     string
	patience time.Duration
	command  contracts.CommandName // empty: it is for a model
}

// chatDraft is what a request of /api/chat says as a message.
func (in *Ingress) chatDraft(r contracts.ChatRequest, route, body string) *draft {
	d := &draft{
		message:  contracts.Message{SessionID: r.SessionID, Text: r.Message, Model: r.Model, Route: route, Callback: r.CallbackURL},
		body:     body,
		patience: in.o.Cap,
	}
	if c, ok := contracts.ParseCommand(r.Message); ok {
		d.command = c.Name
	}
	if r.Stream {
		d.message.Flags |= contracts.FlagStream
		d.patience = in.o.StreamCap
	}
	if r.Timeout != nil {
		d.patience = time.Duration(*r.Timeout) * time.Second
	}
	if wantsFresh(r) {
		d.message.Flags |= contracts.FlagFresh
	}
	return d
}

func wantsFresh(r contracts.ChatRequest) bool { return r.Cache != nil && !*r.Cache }

// chatBody is the digest of a request as it came, before the filter: that may be
// another one when the request is repeated.
func (in *Ingress) chatBody(r contracts.ChatRequest, route string) string {
	body := []string{r.Message, r.SessionID, r.Model}
	if wantsFresh(r) {
		body = append(body, "fresh")
	}
	if route != "" { // the digests of requests without one are older than routes
		body = append(body, route)
	}
	if r.CallbackURL != "" {
		body = append(body, "callback "+r.CallbackURL)
	}
	return in.o.Namer.Digest("body", body...)
}

// accept names the message. A keyed request gets the id that its first
// acceptance got, so that a retry is the same message and not one more.
func (in *Ingress) accept(c echo.Context, who Identity, d *draft) (*accepted, error) {
	a := &accepted{message: d.message, patience: d.patience, command: d.command}
	key, err := idempotencyKey(c)
	if err != nil {
		return nil, err
	}
	names, now, m := in.o.Namer, in.o.Now(), &a.message
	digest := names.Encode(entropy())
	if key != "" {
		digest = names.Digest("message", who.User, key)
		if m.SessionID == "" {
			m.SessionID = "s-" + names.Digest("session", who.User, key)
		}
		first, same, fresh, err := in.o.Store.Claim(c.Request().Context(), names.Digest("key", who.User, key), d.body, now)
		switch {
		case err != nil:
			return nil, err
		case !same:
			return nil, fail(contracts.CodeKeyReused, "this Idempotency-Key was used with another body")
		}
		now, a.keyed, a.repeated = first, true, !fresh
	}
	if m.SessionID == "" {
		m.SessionID = "s-" + names.Encode(entropy())
	}
	m.Conversation = in.conversation(who, m.SessionID)
	a.id = names.NewID(m.Conversation, who.User, now, digest)
	m.ID, m.Channel, m.RequestID = a.id.String(), contracts.ChannelAPI, requestID(c)
	m.Accepted, m.Caller, m.Allow = a.id.At, userID(who.User), who.Models
	a.budget = cmp.Or(who.Budget, in.o.DailyTokens)
	return a, nil
}

func (in *Ingress) conversation(who Identity, session string) string {
	return in.o.Namer.Conversation(contracts.Scope{Channel: contracts.ChannelAPI, Caller: who.User, Session: session})
}

const idempotencyHeader = "Idempotency-Key"

func idempotencyKey(c echo.Context) (string, error) {
	values := c.Request().Header.Values(idempotencyHeader)
	if len(values) == 0 {
		return "", nil
	}
	if len(values) > 1 || !keyForm.MatchString(values[0]) {
		return "", fail(contracts.CodeBadRequest, "Idempotency-Key must be 1 to 255 printable ASCII characters without spaces, once")
	}
	return values[0], nil
}

func entropy() []byte {
	b := make([]byte, 10)
	_, _ = rand.Read(b) // never fails (crypto/rand, Go 1.24)
	return b
}

// known gives the result of a repeated request that was answered before.
func (in *Ingress) known(ctx context.Context, a *accepted) (contracts.Result, bool, error) {
	if !a.repeated {
		return contracts.Result{}, false, nil
	}
	r, found, done, err := in.o.Store.Result(ctx, a.id)
	switch {
	case err != nil:
		return r, false, err
	case done && !found:
		return r, false, fail(contracts.CodeResultExpired, "this request was answered, but its answer is no longer kept")
	}
	return r, found, nil
}
