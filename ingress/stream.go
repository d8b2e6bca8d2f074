package ingress

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"moltbot/contracts"
)

// storeAndStream stores a message and shows its answer while it is made. Until
// the queue has the message, an error is an answer like any other.
func (in *Ingress) storeAndStream(c echo.Context, a *accepted) error {
	ctx := c.Request().Context()
	r, err := in.answeredBefore(ctx, a)
	if err != nil {
		return err
	}
	a.patience = in.patience(a.patience, in.o.StreamCap)
	w := in.replies.follow(a.message.ID) // before publishing: a fast worker may answer at once
	defer w.cancel()
	var how wait
	if r == nil {
		if how, err = in.begin(ctx, a); err != nil {
			return err
		}
	}
	s, err := in.chatStream(c, a.id, a.message.SessionID)
	if err != nil {
		return nil // the client is gone; the message is stored and is answered all the same
	}
	if s.status("accepted") != nil {
		return nil
	}
	if r != nil {
		return s.ended(r, in.showRest(s, w.shown, r))
	}
	return s.follow(w, how)
}

// resume is GET /api/chat/{id} for a client that reads along: it goes on where
// an earlier stream left it, whichever process that was in.
func (in *Ingress) resume(c echo.Context, id contracts.ID, r *contracts.Result, patience time.Duration) error {
	run, offset, err := lastEvent(c)
	if err != nil {
		return err
	}
	w := in.replies.follow(id.String())
	defer w.cancel()
	w.shown.resume(run, offset)
	s, err := in.chatStream(c, id, "")
	if err != nil {
		return nil
	}
	if r != nil {
		return s.ended(r, in.showRest(s, w.shown, r))
	}
	return s.follow(w, wait{patience, true})
}

// chatStream is an answer of the chat API as it is made.
type chatStream struct {
	*events
	in      *Ingress
	c       echo.Context
	id      contracts.ID
	session string
}

func (in *Ingress) chatStream(c echo.Context, id contracts.ID, session string) (*chatStream, error) {
	e, err := in.stream(c)
	if err != nil {
		return nil, err
	}
	return &chatStream{events: e, in: in, c: c, id: id, session: session}, nil
}

// follow shows the answer until its end. Where that does not come, the client
// is told where the answer will be.
func (s *chatStream) follow(w *waiter, how wait) error {
	s.in.metrics.open.Inc()
	defer s.in.metrics.open.Dec()
	r, err := s.in.follow(s.c.Request().Context(), &s.id, w, how, s)
	if r == nil && err == nil {
		_ = s.status("pending") // nothing can be done for a client that is gone
		return nil
	}
	return s.ended(r, err)
}

// ended sends the result, unless the client is gone: then it is there for later.
func (s *chatStream) ended(r *contracts.Result, gone error) error {
	switch {
	case gone != nil:
	case r.Code != "":
		e := fail(r.Code, r.Detail)
		s.in.refused(s.c, e.Code)
		_ = s.json("", "error", problemOf(s.c, e))
	default:
		_ = s.json("", "done", contracts.NewChatReply(r))
	}
	return nil
}

// piece shows text, and the number from which a client may go on behind it.
func (s *chatStream) piece(p piece) error {
	if p.Reset {
		if err := s.json(eventID(p.Run, 0), "reset", contracts.StreamReset{Attempt: p.Attempt}); err != nil {
			return err
		}
	}
	if p.Text == "" {
		return nil
	}
	return s.json(eventID(p.Run, p.Offset), "delta", contracts.StreamDelta{Text: p.Text})
}

// status says where the answer will be.
func (s *chatStream) status(event string) error {
	return s.json("", event, contracts.ChatReply{
		ID: s.id.String(), SessionID: s.session, Status: contracts.StatusPending, Location: location(&s.id),
	})
}

func (s *chatStream) json(id, event string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.send(id, event, b)
}

func location(id *contracts.ID) string {
	return "/api/chat/" + url.PathEscape(id.String()) // a replay's id holds a '#'
}

// wantsStream reports whether the client asks for a stream of events.
func wantsStream(c echo.Context) bool {
	for _, accept := range c.Request().Header.Values(echo.HeaderAccept) {
		for one := range strings.SplitSeq(accept, ",") {
			if media, _, err := mime.ParseMediaType(one); err == nil && media == "text/event-stream" {
				return true
			}
		}
	}
	return false
}

var errLastEvent = errors.New("not <run>-<offset>")

// lastEvent reads where the client was left; zero: nowhere.
func lastEvent(c echo.Context) (run int64, offset int, err error) {
	values := c.Request().Header.Values("Last-Event-ID")
	if len(values) == 0 || len(values) == 1 && values[0] == "" {
		return 0, 0, nil
	}
	if len(values) == 1 {
		if run, offset, err = parseEventID(values[0]); err == nil {
			return run, offset, nil
		}
	}
	return 0, 0, fail(contracts.CodeBadRequest, "Last-Event-ID must be the id of an event of this message, once")
}

// eventID names a place in the answer of a run.
func eventID(run int64, offset int) string { return fmt.Sprintf("%d-%d", run, offset) }

// parseEventID reads what eventID wrote.
func parseEventID(s string) (run int64, offset int, err error) {
	first, second, ok := strings.Cut(s, "-")
	if !ok || !isNumber(first) || !isNumber(second) {
		return 0, 0, errLastEvent
	}
	if run, err = strconv.ParseInt(first, 10, 64); err != nil {
		return 0, 0, errLastEvent
	}
	n, err := strconv.ParseInt(second, 10, 32)
	if err != nil {
		return 0, 0, errLastEvent
	}
	return run, int(n), nil
}

// isNumber accepts what strconv writes, and nothing else that it reads.
func isNumber(s string) bool {
	return s != "" && (s == "0" || s[0] != '0') && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}
