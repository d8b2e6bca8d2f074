package ingress

import (
	"crypto/rand"
	"net"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"github.com/rs/zerolog"

	"moltbot/contracts"
)

// Keys under which a request's facts travel with it to its log line.
const (
	keyRequestID = "request_id"
	keyCaller    = "caller"
	keyMessageID = "message_id"
)

// requestID gives each request an id of our own making; a client's header is
// not trusted to appear in logs.
func (in *Ingress) requestID(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		id := rand.Text()
		c.Set(keyRequestID, id)
		c.Response().Header().Set(echo.HeaderXRequestID, id)
		c.Response().Header().Set("X-Content-Type-Options", "nosniff")
		c.Response().Header().Set("Cache-Control", "no-store")
		return next(c)
	}
}

func requestID(c echo.Context) string  { return text(c, keyRequestID) }
func acceptedID(c echo.Context) string { return text(c, keyMessageID) }

func text(c echo.Context, key string) string {
	s, _ := c.Get(key).(string)
	return s
}

// accessLog writes one line per request: route, never the raw path or query,
// which may hold what does not belong in a log. It writes the answer of a
// handler that failed, so that the status is known. echo's own logger takes
// near a kilobyte of every waiting request's stack (performance.md, Memory).
func (in *Ingress) accessLog(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		began := time.Now()
		err := next(c)
		if err != nil {
			c.Error(err)
		}
		in.logged(c, time.Since(began))
		return err
	}
}

func (in *Ingress) logged(c echo.Context, took time.Duration) {
	status, level := c.Response().Status, zerolog.InfoLevel
	if acceptedID(c) == "" && status < http.StatusInternalServerError {
		level = zerolog.DebugLevel // probes and refusals
	}
	withTrace(in.o.Log.WithLevel(level), c).Str("request_id", requestID(c)).Str("user_id", text(c, keyCaller)).
		Str("message_id", acceptedID(c)).Str("method", c.Request().Method).Str("route", c.Path()).
		Int("status", status).Int64("latency_ms", took.Milliseconds()).Msg("request")
}

// recovered turns a panic into a 500 and logs where it came from.
func (in *Ingress) recovered() echo.MiddlewareFunc {
	return middleware.RecoverWithConfig(middleware.RecoverConfig{
		LogErrorFunc: func(c echo.Context, err error, stack []byte) error {
			withTrace(in.o.Log.Error(), c).Err(err).Str("request_id", requestID(c)).Bytes("stack", stack).Msg("handler panicked")
			return err
		},
	})
}

// clientAddress reads X-Forwarded-For only from proxies that are trusted by
// name; without it anybody could choose the address he is limited by.
func clientAddress(trusted []*net.IPNet) echo.IPExtractor {
	if len(trusted) == 0 {
		return echo.ExtractIPDirect()
	}
	options := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	for _, n := range trusted {
		options = append(options, echo.TrustIPRange(n))
	}
	return echo.ExtractIPFromXFFHeader(options...)
}

// userID is how a caller appears in logs and envelopes.
func userID(caller string) string { return string(contracts.ChannelAPI) + ":" + caller }
