package ingress

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"moltbot/contracts"
)

// tracerName is the instrumentation scope of the spans.
const tracerName = "moltbot/ingress"

// traceParent is the W3C header that leads from the request to the run.
const traceParent = "traceparent"

// probe reports whether a route is one that is asked all day long.
func probe(path string) bool {
	return path == "/livez" || path == "/readyz" || path == "/api/health"
}

// traced opens the span of a request. A client's traceparent becomes its parent
// when it is well-formed; nothing else of the client's trace is taken over.
func (in *Ingress) traced(next echo.HandlerFunc) echo.HandlerFunc {
	if in.tracer == nil {
		return next
	}
	return func(c echo.Context) error {
		if probe(c.Path()) {
			return next(c)
		}
		req := c.Request()
		route := otherRoute
		if in.metrics.routes[routeKey{req.Method, c.Path()}] != nil {
			route = c.Path()
		}
		ctx := propagation.TraceContext{}.Extract(req.Context(), propagation.MapCarrier{traceParent: onlyOne(req.Header.Values(traceParent))})
		ctx, span := in.tracer.Start(ctx, spanName(req.Method, route), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
			attribute.String("http.route", route), attribute.String("moltbot.channel", string(channelOf(route)))))
		defer span.End()
		c.SetRequest(req.WithContext(ctx))
		err := next(c)
		status := c.Response().Status
		span.SetAttributes(attribute.Int("http.response.status_code", status))
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, "")
		}
		return err
	}
}

// channelOf is the channel that a route belongs to.
func channelOf(route string) contracts.Channel {
	for _, channel := range []contracts.Channel{contracts.ChannelDingTalk, contracts.ChannelFeishu} {
		if strings.HasPrefix(route, "/"+string(channel)+"/") {
			return channel
		}
	}
	return contracts.ChannelAPI
}

// spanName is of a closed set: a client may send any method.
func spanName(method, route string) string {
	if route == otherRoute {
		return route
	}
	return fmt.Sprintf("%s %s", method, route)
}

func onlyOne(values []string) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}

// startStore opens the span of a publish; what it gives leads on to the workers.
func (in *Ingress) startStore(ctx context.Context) (_ context.Context, end func(error)) {
	if in.tracer == nil {
		return ctx, func(error) {}
	}
	ctx, span := in.tracer.Start(ctx, "store", trace.WithSpanKind(trace.SpanKindProducer))
	return ctx, func(err error) {
		if err != nil {
			code := string(contracts.Public(err).Code)
			span.SetStatus(codes.Error, code)
			span.SetAttributes(attribute.String("moltbot.code", code))
		}
		span.End()
	}
}

// traceHeader is what a message carries of its trace; nil without one.
func traceHeader(ctx context.Context) nats.Header {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return nil
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return nats.Header{traceParent: []string{carrier[traceParent]}}
}

// withTrace adds what leads from a log line to its trace.
func withTrace(e *zerolog.Event, c echo.Context) *zerolog.Event {
	if s := trace.SpanContextFromContext(c.Request().Context()); s.IsValid() {
		return e.Str("trace_id", s.TraceID().String())
	}
	return e
}
