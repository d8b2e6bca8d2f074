package mailbox

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"moltbot/contracts"
)

// Event is something that is counted.
type Event uint8

// The events of a mailbox. The set is closed: each is a metric.
const (
	EventRedelivered Event = iota // a delivery that is not a message's first
	EventRetry                    // a failed run that is tried again after a back-off
	EventDead                     // a dead letter was stored
	EventCommitAgain              // a commit that Redis did not confirm and that is repeated
	EventOutStored                // an outbox entry was stored for delivery
	EventOutHeld                  // a conversation was closed because its outbox could not be stored
	EventMended                   // values of a foreign type were taken from a conversation's keys
	Events                        // how many there are
)

// Watch is told what happens. Its functions are called for each message, so they
// must be quick and never block. Nil functions are not called.
type Watch struct {
	Count func(Event)
	// Ended is called once for each message that a commit of this process
	// finished; answered is false for one that ended with an error.
	Ended func(id string, answered bool)
	// Tracer makes the spans of a message; nil makes none.
	Tracer trace.Tracer
}

func (m *Mailbox) count(e Event) {
	if m.o.Watch.Count != nil {
		m.o.Watch.Count(e)
	}
}

func (m *Mailbox) ended(t Task, answered bool) {
	if m.o.Watch.Ended != nil {
		m.o.Watch.Ended(t.ID, answered)
	}
}

// traceParent is the W3C header that leads from the request to the run.
const traceParent = "traceparent"

// parentOf reads where a message's trace comes from. What is not well-formed is
// as good as missing.
func parentOf(ctx context.Context, msg message) context.Context {
	h := msg.header
	if h == nil && len(msg.rawHeader) > 0 {
		h, _ = nats.DecodeHeadersMsg(msg.rawHeader) // unreadable: no parent
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{traceParent: h.Get(traceParent)})
}

// traced opens the span of a message that was taken to be run, with the waiting
// and the taking as spans that are over already. Both contexts carry it. end is
// to be called with how the message left this worker's hands.
func (m *Mailbox) traced(run, work context.Context, t *Task, msg message, began time.Time) (_, _ context.Context, end func(Handled)) {
	if m.o.Watch.Tracer == nil {
		return run, work, func(Handled) {}
	}
	parent, now := parentOf(work, msg), m.o.Now()
	_, wait := m.o.Watch.Tracer.Start(parent, "wait in queue", trace.WithTimestamp(earlier(msg.at, began)))
	wait.End(trace.WithTimestamp(began))
	work, span := m.o.Watch.Tracer.Start(parent, "run message", trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithTimestamp(began), trace.WithAttributes(attribute.Int("moltbot.attempt", t.Attempt)))
	_, begin := m.o.Watch.Tracer.Start(work, "begin", trace.WithTimestamp(began))
	begin.End(trace.WithTimestamp(now))
	t.TraceID = span.SpanContext().TraceID().String()
	return trace.ContextWithSpan(run, span), work, func(h Handled) {
		if h != "" {
			span.SetAttributes(attribute.String("moltbot.handled", string(h)))
		}
		span.End()
	}
}

// began is when the work for the next message began: with its delivery, or just now.
func (m *Mailbox) began(h *holding) time.Time {
	if h.first != nil {
		return h.began
	}
	return m.o.Now()
}

// earlier guards against a broker whose clock is ahead of ours.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || a.After(b) {
		return b
	}
	return a
}

// step opens a span for a part of a message's way.
func (m *Mailbox) step(ctx context.Context, name string) (end func(error)) {
	if m.o.Watch.Tracer == nil {
		return func(error) {}
	}
	_, span := m.o.Watch.Tracer.Start(ctx, name)
	return func(err error) {
		if err != nil { // the code only: texts may quote what is nobody's business
			code := string(contracts.Public(err).Code)
			span.SetStatus(codes.Error, code)
			span.SetAttributes(attribute.String("moltbot.code", code))
		}
		span.End()
	}
}

// withTrace adds what leads from a log line to its trace.
func withTrace(e *zerolog.Event, t Task) *zerolog.Event {
	if t.TraceID == "" {
		return e
	}
	return e.Str("trace_id", t.TraceID)
}
