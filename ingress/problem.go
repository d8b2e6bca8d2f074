package ingress

import (
	"errors"
	"log"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/rs/zerolog"

	"moltbot/contracts"
)

// problem answers every error as an RFC 9457 document, and under /v1 as clients
// of that API expect. The chain behind it is
// logged here, once, and never sent.
func (in *Ingress) problem(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	e := publicError(err)
	status := e.Code.Status()
	if c.Request().Context().Err() != nil {
		// Nobody reads the answer, and what failed is likely just that: it is no refusal.
		in.o.Log.Debug().Err(e.Err).Str("request_id", requestID(c)).Str("code", string(e.Code)).Msg("request failed after its client left")
	} else {
		in.refused(c, e.Code)
		if e.Err != nil && status >= http.StatusInternalServerError {
			withTrace(in.o.Log.Error(), c).Err(e.Err).Str("request_id", requestID(c)).Str("code", string(e.Code)).Msg("request failed")
		}
	}
	h := c.Response().Header()
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	if status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="moltbot"`)
	}
	if e.Code == contracts.CodeTooLarge || e.Code == contracts.CodeBodyTimeout {
		h.Set("Connection", "close") // the rest of the body is not worth reading
	}
	body := any(problemOf(c, e))
	if isOpenAI(c) {
		body = openAIError(err, e)
		if e.Code == contracts.CodeBudget {
			h.Set(retryHeader, "false") // its clients would sleep until midnight, and then ask
		}
	} else {
		h.Set(echo.HeaderContentType, contracts.ProblemType)
	}
	if err := c.JSON(status, body); err != nil {
		in.o.Log.Debug().Err(err).Str("request_id", requestID(c)).Msg("problem not written")
	}
}

func problemOf(c echo.Context, e *contracts.Error) contracts.Problem {
	p := contracts.NewProblem(e.Code, e.Message)
	p.RequestID, p.ID, p.Delivery = requestID(c), acceptedID(c), deliveryOf(c)
	return p
}

// publicError gives router errors a code; anything else is reduced by contracts.Public.
func publicError(err error) *contracts.Error {
	var he *echo.HTTPError
	if !errors.As(err, &he) {
		return contracts.Public(err)
	}
	switch he.Code {
	case http.StatusNotFound:
		return &contracts.Error{Code: contracts.CodeNotFound, Message: "there is nothing at this path"}
	case http.StatusMethodNotAllowed:
		return &contracts.Error{Code: contracts.CodeMethod, Message: "this path does not take that method"}
	case http.StatusRequestEntityTooLarge:
		return &contracts.Error{Code: contracts.CodeTooLarge, Message: "the body is too large"}
	}
	return contracts.Public(err)
}

// fail is a refusal without an inner cause.
func fail(code contracts.Code, message string) *contracts.Error {
	return &contracts.Error{Code: code, Message: message}
}

// quiet takes what net/http has to say (broken handshakes, superfluous headers)
// into the debug log.
func quiet(l zerolog.Logger) *log.Logger { return log.New(debugWriter{l}, "", 0) }

type debugWriter struct{ l zerolog.Logger }

func (w debugWriter) Write(b []byte) (int, error) {
	w.l.Debug().Str("detail", clip(string(b), 256)).Msg("http server")
	return len(b), nil
}

// clip cuts s to at most n bytes on a character border.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}

const full = time.Second // Retry-After of a full queue or conversation
