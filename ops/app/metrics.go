package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"moltbot/contracts"
	"moltbot/ingress"
	"moltbot/ingress/limit"
	"moltbot/ingress/owner"
	"moltbot/ops/config"
	"moltbot/ops/observe"
	"moltbot/scheduler"
	"moltbot/workers/deliver"
	"moltbot/workers/mailbox"
	"moltbot/workers/model"
	"moltbot/workers/model/cache"
	"moltbot/workers/session"
	"moltbot/workers/usage"
)

// watch is what this process shows of itself. Its zero value shows nothing.
type watch struct {
	registry *prometheus.Registry // nil: metrics are off
	listener net.Listener
	trips    *observe.RoundTrips
	tracing  *observe.Tracing // nil: traces are off
	stopping chan struct{}    // closed when the process begins to stop
}

func (a *App) openWatch(ctx context.Context) error {
	a.watch.stopping = make(chan struct{})
	if err := a.openTracing(ctx); err != nil {
		return err
	}
	if a.o.Config.Metrics.Listen == "" {
		return nil
	}
	var err error
	if a.watch.listener, err = a.listenMetrics(ctx); err != nil {
		return err
	}
	a.onClose("metrics listener", closeListener(a.watch.listener))
	a.watch.registry = observe.NewRegistry(a.o.Version)
	return nil
}

// listenMetrics takes the configured address. Nobody chose the default one, so
// two processes on one machine must not fail over it.
func (a *App) listenMetrics(ctx context.Context) (net.Listener, error) {
	want := a.o.Config.Metrics.Listen
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", want)
	if err != nil && want == config.Default().Metrics.Listen {
		if l, err = listen.Listen(ctx, "tcp", "127.0.0.1:0"); err == nil {
			a.o.Log.Warn().Str("address", l.Addr().String()).
				Msg("the default address of metrics.listen is taken, another one was chosen")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s (is another program there? set metrics.listen, empty for no metrics): %w", want, err)
	}
	return l, nil
}

func (a *App) openTracing(ctx context.Context) (err error) {
	endpoint := observe.TraceEndpoint(a.o.Config.Trace.Endpoint)
	if endpoint == "" {
		return nil
	}
	a.watch.tracing, err = observe.NewTracing(ctx, observe.TraceOptions{
		Endpoint: endpoint, Sample: a.o.Config.Trace.Sample, Version: a.o.Version, Node: a.node, Log: a.o.Log,
	})
	if err == nil {
		a.onClose("traces", a.watch.tracing.Close)
	}
	return err
}

// watchStores times what goes to Redis and NATS from here on.
func (a *App) watchStores() {
	if a.watch.registry == nil {
		return
	}
	scripts := mailbox.Scripts()
	maps.Copy(scripts, session.Scripts())
	maps.Copy(scripts, limit.Scripts())
	maps.Copy(scripts, owner.Scripts())
	maps.Copy(scripts, model.Scripts())
	maps.Copy(scripts, cache.Scripts())
	maps.Copy(scripts, usage.Scripts())
	maps.Copy(scripts, scheduler.Scripts())
	maps.Copy(scripts, deliver.Scripts())
	hook := observe.NewRedisHook(a.watch.registry, scripts)
	a.rdb.AddHook(hook)
	a.tasks.AddHook(hook)
	a.watch.trips = observe.NewRoundTrips(a.watch.registry, a.rdb)
}

// registerer is nil, and not a typed nil, where metrics are off.
func (a *App) registerer() prometheus.Registerer {
	if a.watch.registry == nil {
		return nil
	}
	return a.watch.registry
}

func (a *App) tracerProvider() trace.TracerProvider {
	if a.watch.tracing == nil {
		return nil
	}
	return a.watch.tracing.Provider()
}

// MetricsAddress is where metrics and probes are served; empty where they are not.
func (a *App) MetricsAddress() string {
	if a.watch.listener == nil {
		return ""
	}
	return a.watch.listener.Addr().String()
}

// serveWatch serves metrics and probes until ctx ends, which is after the roles
// have stopped. Its failures end nothing: messages come first.
func (a *App) serveWatch(ctx context.Context) {
	if a.watch.registry == nil {
		return
	}
	a.watch.registry.MustRegister(observe.NewQueueCollector(a.topology.look, time.Now))
	ready := ingress.NewReadiness(a.probes(), time.Now)
	server := observe.NewMetricsServer(observe.MetricsOptions{
		Listener: a.watch.listener, Gather: a.watch.registry, Ready: ready.Look, Log: a.o.Log,
	})
	a.o.Log.Info().Str("address", a.MetricsAddress()).Msg("metrics ready")
	sampling := make(chan struct{})
	go func() {
		defer close(sampling)
		a.watch.trips.Run(ctx)
	}()
	if err := server.Run(ctx); err != nil {
		a.o.Log.Error().Err(err).Msg("metrics are not served any more")
	}
	<-sampling
}

// probes are what /readyz of the metrics address asks, whatever the roles.
func (a *App) probes() map[string]func(context.Context) error {
	checks := map[string]func(context.Context) error{"process": func(context.Context) error {
		select {
		case <-a.watch.stopping:
			return &contracts.Error{Code: contracts.CodeStopping, Message: "shutting down"}
		default:
			return nil
		}
	}}
	for name, check := range a.checks(a.topology.connected) {
		checks[name] = check
	}
	if a.workers != nil {
		checks["workers"] = a.workers.Fetching
	}
	if a.scheduler != nil {
		checks["scheduler"] = a.scheduler.Ready
	}
	return checks
}

// connected tells of the connection that asks for the queue's state.
func (t *topology) connected() bool { return t.js.Conn().IsConnected() }

// look reads the queue's state for the metrics.
func (t *topology) look(ctx context.Context) (s observe.QueueState, err error) {
	if !t.connected() {
		return s, errors.New("not connected")
	}
	stream, err := t.js.Stream(ctx, contracts.StreamChat)
	if err != nil {
		return s, fmt.Errorf("read stream: %w", err)
	}
	consumer, err := stream.Consumer(ctx, contracts.ConsumerChat)
	if err != nil {
		return s, fmt.Errorf("read consumer: %w", err)
	}
	is, c := stream.CachedInfo(), consumer.CachedInfo()
	s = observe.QueueState{
		Pending: c.NumPending, InProgress: c.NumAckPending, Messages: is.State.Msgs, Bytes: is.State.Bytes,
		MaxMessages: is.Config.MaxMsgs, MaxBytes: is.Config.MaxBytes,
	}
	if s.Dead, s.DeadOldest, s.DeadRoles, err = t.deadState(ctx); err != nil {
		return s, err
	}
	if s.Pending > 0 || s.InProgress > 0 {
		if s.Oldest, err = oldest(ctx, stream, c.AckFloor.Stream+1, contracts.SubjectsChat); err != nil {
			return s, err
		}
	}
	return s, t.lookOut(ctx, &s)
}

// lookOut adds what is on its way out.
func (t *topology) lookOut(ctx context.Context, s *observe.QueueState) error {
	stream, err := t.js.Stream(ctx, contracts.StreamSend)
	if err != nil {
		return fmt.Errorf("read stream of answers: %w", err)
	}
	consumer, err := stream.Consumer(ctx, contracts.ConsumerSend)
	if err != nil {
		return fmt.Errorf("read consumer of answers: %w", err)
	}
	c := consumer.CachedInfo()
	if s.Sending = c.NumPending + uint64(max(0, c.NumAckPending)); s.Sending > 0 {
		s.SendingOldest, err = oldest(ctx, stream, c.AckFloor.Stream+1, contracts.SubjectsSend)
	}
	return err
}

// oldest gives the time of the first message from seq on. Everything up to the
// ack floor is finished, and the message behind it is not.
func oldest(ctx context.Context, stream jetstream.Stream, seq uint64, subjects string) (time.Time, error) {
	m, err := stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(subjects))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return time.Time{}, nil // it was finished in this moment
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read oldest message: %w", err)
	}
	return m.Time, nil
}
