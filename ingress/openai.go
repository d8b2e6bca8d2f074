package ingress

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/labstack/echo/v4"

	"moltbot/contracts"
	"moltbot/ingress/filter"
)

// openAIPrefix is where the API that OpenAI's clients speak begins.
const openAIPrefix = "/v1"

// maxQueued is the most that the parts of one message may have together: what a
// NATS server takes by default, less room for headers, sealing and the envelope.
const maxQueued = 1<<20 - 16<<10

// completions is POST /v1/chat/completions: check, store, wait, answer.
func (in *Ingress) completions(c echo.Context) error {
	a, x, err := in.admitCompletion(c)
	if err != nil {
		return err
	}
	c.Set(keyMessageID, a.message.ID)
	if x.stream {
		return in.streamCompletion(c, a, x)
	}
	// There is no 202 here, so a request may wait longer than on /api/chat.
	_ = http.NewResponseController(c.Response().Writer).SetWriteDeadline(time.Now().Add(a.patience + in.writeSlack()))
	r, err := in.exchange(c.Request().Context(), a, a.patience)
	switch {
	case err != nil:
		return in.unstored(x, err)
	case r == nil:
		x.crowded = a.patience <= 0
		return in.unanswered(c, x)
	}
	return in.complete(c, x, r)
}

// admitCompletion turns a request into a message, or refuses it. Nothing of the
// body is read before its sender is known.
func (in *Ingress) admitCompletion(c echo.Context) (*accepted, *completion, error) {
	who, err := in.authenticateBearer(c)
	if err != nil {
		return nil, nil, err
	}
	if err := in.spend(c, who); err != nil {
		return nil, nil, err
	}
	if err := checkMedia(c.Request().Header); err != nil {
		return nil, nil, err
	}
	body, err := readBody(c, in.o.MaxOpenAIBody)
	if err != nil {
		return nil, nil, hintSize(err)
	}
	r, err := decodeLenient(body)
	if err != nil {
		return nil, nil, err
	}
	if err := in.mayUse(who, r.Model); err != nil {
		return nil, nil, err
	}
	d, err := r.draft(c.Request().Header.Values(sessionHeader), in.o.Filter)
	if err != nil {
		return nil, nil, err
	}
	if in.patience(in.o.OpenAICap, in.o.OpenAICap) == 0 {
		return nil, nil, crowd()
	}
	d.body, d.patience = in.completionDigest(c, body, d.message.SessionID), in.o.OpenAICap
	if r.Stream {
		d.patience = in.o.StreamCap
	}
	a, err := in.accept(c, who, d)
	if err != nil {
		return nil, nil, err
	}
	return a, &completion{
		id: a.id, model: r.Model, keyed: a.keyed, stream: r.Stream, usage: r.StreamOptions.IncludeUsage,
	}, nil
}

// authenticateBearer is authenticate where the body holds no token.
func (in *Ingress) authenticateBearer(c echo.Context) (Identity, error) {
	if token, err := bearer(c); err == nil && token == "" {
		return Identity{}, in.unauthorized(c, "you did not provide a token: send it as \"Authorization: Bearer TOKEN\"; \"moltbot token\" makes one")
	}
	return in.authenticate(c, "")
}

func hintSize(err error) error {
	var e *contracts.Error
	if errors.As(err, &e) && e.Code == contracts.CodeTooLarge {
		return fail(e.Code, e.Message+"; send images by URL instead of within the request")
	}
	return err
}

// sessionHeader names a session of /api/chat whose context the server keeps.
const sessionHeader = "X-Session-Id"

// draft is what the request says as a message.
func (r *completionRequest) draft(sessions []string, mode filter.Mode) (*draft, error) {
	messages, text, err := r.prompt(mode)
	if err != nil {
		return nil, err
	}
	params, err := r.params()
	if err != nil {
		return nil, err
	}
	d := &draft{message: contracts.Message{Text: text, Model: r.Model}}
	m := &d.message
	switch {
	case len(sessions) == 0:
		m.Flags |= contracts.FlagUnkept
		m.Text = clip(text, maxUnkeptText)
	case len(sessions) > 1 || !sessionForm.MatchString(sessions[0]):
		return nil, misfitting("", "%s must be 1 to 64 of A-Z a-z 0-9 _ -, once", sessionHeader)
	case text == "":
		return nil, misfitting("messages", "with %s there must be a message of the role user", sessionHeader)
	default:
		m.SessionID = sessions[0]
	}
	if r.Stream {
		m.Flags |= contracts.FlagStream | contracts.FlagShown
	}
	if r.Cache != nil && !*r.Cache {
		m.Flags |= contracts.FlagFresh
	}
	if m.Prompt, err = contracts.EncodePrompt(messages); err != nil {
		return nil, err
	}
	if m.Params, err = contracts.EncodeParams(params); err != nil {
		return nil, err
	}
	if len(m.Text)+len(m.Prompt)+len(m.Params) > maxQueued {
		return nil, hintSize(fail(contracts.CodeTooLarge, "the messages are too large for the queue"))
	}
	return d, nil
}

// maxUnkeptText bounds what travels twice of a long message where no turn is
// kept: the prompt has it, too.
const maxUnkeptText = 4 << 10

// completionDigest tells whether a repeated Idempotency-Key came with the same
// request: the same JSON in the same session, however it is written.
func (in *Ingress) completionDigest(c echo.Context, body []byte, session string) string {
	if len(c.Request().Header.Values(idempotencyHeader)) == 0 {
		return ""
	}
	canonical := jsontext.Value(body) // nobody needs the body as it came any more
	if err := canonical.Canonicalize(); err != nil {
		return in.o.Namer.Digest("completion", session, string(body)) // it was read, so it cannot fail
	}
	return in.o.Namer.Digest("completion", session, string(canonical))
}

// unanswered says why there is no answer. Nobody can ask for it any more, so the
// model need not go on, unless the request can be repeated with its key.
func (in *Ingress) unanswered(c echo.Context, x *completion) error {
	if !x.keyed {
		in.abandon(x.id)
	}
	if err := c.Request().Context().Err(); err != nil {
		return err
	}
	return in.gaveUp(c, x)
}

// unstored is for a message whose storing failed. Where it is not known whether
// it did, its client asks again under another id, and nobody reads this one.
func (in *Ingress) unstored(x *completion, err error) error {
	if !x.keyed && errors.Is(err, context.DeadlineExceeded) {
		in.abandon(x.id)
	}
	return err
}

// gaveUp is the reason why a request waits no longer. To try again by itself
// makes sense for a client where the server stops, or where it waits on.
func (in *Ingress) gaveUp(c echo.Context, x *completion) error {
	if x.crowded {
		return crowd()
	}
	select {
	case <-in.draining:
		return &contracts.Error{Code: contracts.CodeStopping, RetryAfter: full, Message: "this server is stopping; try again after Retry-After"}
	default:
	}
	if !x.keyed {
		c.Response().Header().Set(retryHeader, "false")
	}
	return fail(contracts.CodeModelTimeout, "the answer took longer than this server lets a request wait")
}

func crowd() error {
	return &contracts.Error{
		Code: contracts.CodeQueueFull, RetryAfter: full, Message: "too many requests wait for an answer; try again after Retry-After",
	}
}

// writeSlack is what a connection may need beside the time that a request waits.
func (in *Ingress) writeSlack() time.Duration {
	return in.o.ReadTimeout + 2*in.o.Publish + 10*time.Second
}

func isOpenAI(c echo.Context) bool {
	path := c.Request().URL.Path
	return path == openAIPrefix || strings.HasPrefix(path, openAIPrefix+"/")
}
