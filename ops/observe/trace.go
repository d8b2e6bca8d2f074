package observe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// TraceOptions of Tracing.
type TraceOptions struct {
	// Endpoint is the base URL of the collector, to which v1/traces is added;
	// see TraceEndpoint. Required.
	Endpoint string
	// Sample is the part of the traces that is kept, from 0 to 1. A request that
	// brings a parent does as its parent did.
	Sample        float64
	Version, Node string
	Log           zerolog.Logger
	// Every is how long spans are gathered before they are sent. Default: 5s.
	Every time.Duration
}

// Limits of sending. Spans that find the buffer full are dropped: nobody waits
// for a collector.
const (
	spansBuffered = 4096
	spansAtOnce   = 512
	sendTimeout   = 5 * time.Second
	traceStop     = 2 * time.Second // for the last spans at shutdown
	tellAgain     = time.Minute     // between two complaints about the collector
)

// Tracing makes spans and sends them to a collector.
type Tracing struct {
	provider *sdktrace.TracerProvider
	cancel   context.CancelFunc
}

// TraceEndpoint gives the collector's base URL: the configured one, else the one
// of the standard variable, else none, and then there is no tracing.
func TraceEndpoint(configured string) string {
	return cmp.Or(configured, os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT"))
}

// NewTracing starts the sending. It does not wait for the collector.
func NewTracing(ctx context.Context, o TraceOptions) (*Tracing, error) {
	target, err := url.Parse(o.Endpoint)
	if err != nil || target.Host == "" || target.Scheme != "http" && target.Scheme != "https" {
		return nil, errors.New("trace.endpoint is not an address such as http://collector:4318") // the cause would quote it
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	client, err := otlptrace.New(ctx, otlptracehttp.NewClient(
		otlptracehttp.WithEndpointURL(target.JoinPath("v1", "traces").String()), otlptracehttp.WithTimeout(sendTimeout),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{
			Enabled: true, InitialInterval: time.Second, MaxInterval: 2 * time.Second, MaxElapsedTime: sendTimeout,
		})))
	if err != nil {
		cancel()
		return nil, fmt.Errorf("exporter: %w", err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(o.Sample))),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "moltbot"), attribute.String("service.version", o.Version),
			attribute.String("service.instance.id", o.Node))),
		sdktrace.WithBatcher(&exporter{client: client, life: life, log: o.Log, now: time.Now},
			sdktrace.WithMaxQueueSize(spansBuffered), sdktrace.WithMaxExportBatchSize(spansAtOnce),
			sdktrace.WithExportTimeout(2*sendTimeout), sdktrace.WithBatchTimeout(cmp.Or(o.Every, 5*time.Second))))
	return &Tracing{provider: provider, cancel: cancel}, nil
}

// Provider is what roles make their tracers with.
func (t *Tracing) Provider() trace.TracerProvider { return t.provider }

// Close sends what is left, in bounded time; a collector that hangs is left.
func (t *Tracing) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), traceStop)
	defer cancel()
	giveUp := context.AfterFunc(ctx, t.cancel) // ends a send that hangs, so that no goroutine stays
	defer giveUp()
	_ = t.provider.Shutdown(ctx) // spans that are lost here are not worth an exit status
	t.cancel()
	return nil
}

// exporter keeps the SDK's global error handler out of it: failures go to our
// log, seldom, and end there.
type exporter struct {
	client *otlptrace.Exporter
	life   context.Context // ends a send at shutdown
	log    zerolog.Logger
	now    func() time.Time
	told   atomic.Int64 // when a failure was last logged
}

// ExportSpans sends a batch.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.life, cancel)()
	if err := e.client.ExportSpans(ctx, spans); err != nil {
		e.tell(len(spans))
	}
	return nil
}

// tell leaves the cause out: it may quote the address and what the collector said.
func (e *exporter) tell(lost int) {
	now, last := e.now().UnixNano(), e.told.Load()
	if now-last < int64(tellAgain) || !e.told.CompareAndSwap(last, now) {
		return
	}
	e.log.Warn().Int("spans", lost).Msg("traces not taken by the collector; requests are not affected")
}

// Shutdown closes the client.
func (e *exporter) Shutdown(ctx context.Context) error { return e.client.Shutdown(ctx) }
