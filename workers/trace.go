package workers

import (
	"context"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
)

// tracerName is the instrumentation scope of the spans.
const tracerName = "moltbot/workers"

// startModel opens the span of a model call. Its attributes are the name of
// the model in the table and the channel; never what a caller wrote.
func (t *turn) startModel(ctx context.Context, channel contracts.Channel, name string) (_ context.Context, end func(error)) {
	if t.tracer == nil {
		return ctx, func(error) {}
	}
	ctx, span := t.tracer.Start(ctx, "model", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("moltbot.model", name), attribute.String("moltbot.channel", string(channel))))
	return ctx, func(err error) {
		if err != nil {
			code := outcomeOf(err)
			span.SetStatus(codes.Error, code)
			span.SetAttributes(attribute.String("moltbot.code", code))
		}
		span.End()
	}
}

// withTrace adds what leads from a log line to its trace.
func withTrace(e *zerolog.Event, task mailbox.Task) *zerolog.Event {
	if task.TraceID == "" {
		return e
	}
	return e.Str("trace_id", task.TraceID)
}
