// Package ingress is the thin HTTP front: it authenticates, checks and stores
// requests in the queue, and hands answers back to those who wait. It never
// calls a model and acknowledges nothing that is not stored.
package ingress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"

	"moltbot/contracts"
	"moltbot/ingress/filter"
	"moltbot/ingress/limit"
)

// Store is what ingress needs to know of conversations.
type Store interface {
	// Result gives a message's result; done says whether it is finished even
	// where the result is no longer kept.
	Result(ctx context.Context, id contracts.ID) (r contracts.Result, found, done bool, err error)
	// Claim records the first acceptance of an idempotency key.
	Claim(ctx context.Context, digest, body string, now time.Time) (first time.Time, same, fresh bool, err error)
}

// Opener opens the sealed result that a reply carries.
type Opener interface {
	OpenReply(id contracts.ID, data []byte) (contracts.Result, error)
}

// Identity is who a token speaks for.
type Identity struct {
	User   string
	Scopes []string
	Rate   contracts.Rate // the caller's own; zero: that of Options
	Models contracts.ModelNames
	Budget int64 // tokens of models a day; 0: that of Options
}

// Models knows the table of models.
type Models interface {
	// Router gives the table that holds; nil: it is not known yet.
	Router() *contracts.Router
}

// Deliveries knows what became of replies on their way out.
type Deliveries interface {
	// Delivery tells it of one message; found is false where nothing was tried.
	Delivery(ctx context.Context, id contracts.ID) (d contracts.Delivery, found bool, err error)
}

// Budget knows what callers have used. Its answer may be a moment old.
type Budget interface {
	// Spent gives the tokens of models that a caller used today (UTC).
	Spent(ctx context.Context, caller string) (int64, error)
}

// Verifier checks tokens. An error means that the token is worth nothing.
type Verifier interface {
	Verify(token string) (Identity, error)
}

// Options of ingress. What has no default is required.
type Options struct {
	Node     string       // unique among all processes
	Listener net.Listener // of the public API; closed by Run
	Conn     *nats.Conn
	Store    Store
	Sessions Sessions
	Opener   Opener
	Sealer   contracts.Sealer
	Namer    *contracts.Namer
	Verifier Verifier
	Log      zerolog.Logger
	// Checks are the dependencies that /readyz names.
	Checks map[string]func(context.Context) error
	// Repair makes a missing stream again. It is called when a publish found none.
	Repair func(context.Context) error
	// Models says which models there are. Nil: any name is taken, and none is listed.
	Models Models
	// Admin serves the admin API; nil: there is none.
	Admin *Admin
	// Apps are the applications of IM platforms.
	Apps []ChannelApp
	// Callbacks are the hosts that callback_url may name; none: it is refused.
	Callbacks contracts.CallbackHosts
	// Deliveries knows what became of replies on their way out; nil: nobody does.
	Deliveries Deliveries
	// Docs serves /openapi.json and /docs; nil: they are not there.
	Docs http.Handler
	// Abandoner finishes what no client can read any more; nil: it is answered.
	Abandoner Abandoner

	// Stopper lets users stop answers; nil: a command to stop does it in its turn.
	Stopper Stopper

	MaxBody       int64 // bytes; default 64 KiB
	MaxOpenAIBody int64 // of /v1; default 960 KiB
	MaxChars      int   // characters of a message; default 2048
	// Filter says what users' texts may hold. Default: filter.Normal.
	Filter        filter.Mode
	MaxHeader     int           // bytes; default 16 KiB
	HeaderTimeout time.Duration // default 5s
	ReadTimeout   time.Duration // of a body; default 15s
	Cap           time.Duration // longest wait for an answer; default 55s
	OpenAICap     time.Duration // and of a request to /v1; default 5m
	StreamCap     time.Duration // longest stream of an answer; default 10m
	KeepAlive     time.Duration // between signs of life on a quiet stream; default 15s
	WriteWait     time.Duration // for a client to take one event of a stream; default 30s
	Publish       time.Duration // time to store a message; default 2s
	// GroupCommit stores what waits at the same moment as one batch. It pays where
	// each publish costs a write to disk; a replicated stream groups by itself.
	GroupCommit bool
	DoneTTL     time.Duration // default 24h
	DrainWait   time.Duration // how long waiting requests may go on waiting at shutdown; default 5s
	MaxWaiting  int           // requests that wait at a time; further ones get 202 at once; default 20000
	// Rate of a caller whose token says none, and of failed authentication from
	// one address. Default: no limit.
	Rate contracts.Rate
	// Limits is the Redis in which all processes count callers. Default: nil,
	// this process counts alone.
	Limits redis.Scripter
	// DailyTokens is what a caller may use in a day whose token says nothing of it.
	// Default: 0, any number.
	DailyTokens int64
	// Budget knows what they used. Default: nil, nobody has a budget.
	Budget       Budget
	TrustedProxy []*net.IPNet // whose X-Forwarded-For counts
	// Metrics takes the role's metrics; nil: nobody reads them.
	Metrics prometheus.Registerer
	// Traces makes the spans; nil: there are none.
	Traces trace.TracerProvider
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Ingress is the role.
type Ingress struct {
	o       Options
	started time.Time
	echo    *echo.Echo
	publish *publisher
	replies *replies
	callers *limit.Limiter
	limits  *limits // of addresses
	ready   *Readiness
	metrics *metrics
	tracer  trace.Tracer // nil: no spans

	abandoned *abandoned
	draining  chan struct{} // closed when waiting requests are to be answered now
	drainOnce sync.Once
}

// New checks o and wires the role. It opens nothing.
func New(o Options) (*Ingress, error) {
	setDefaults(&o)
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("ingress options: %w", err)
	}
	pub, err := newPublisher(&o)
	if err != nil {
		return nil, fmt.Errorf("ingress: %w", err)
	}
	callers, err := limit.New(limit.Options{Redis: o.Limits, Namer: o.Namer, Rate: o.Rate, Now: o.Now, Log: o.Log})
	if err != nil {
		return nil, fmt.Errorf("ingress: %w", err)
	}
	in := &Ingress{
		o: o, started: o.Now(), publish: pub, draining: make(chan struct{}),
		replies: newReplies(o.Conn, o.Node, o.Log, o.Sealer), callers: callers, limits: newLimits(o.Rate, o.Now),
		ready: NewReadiness(o.Checks, o.Now), abandoned: newAbandoned(&o),
	}
	in.metrics = newMetrics(o.Metrics, in.Waiting)
	in.replies.metrics = in.metrics
	countLimits(o.Metrics, callers.Stats)
	if pub.group != nil {
		pub.group.batched = in.metrics.batched
	}
	if o.Traces != nil {
		in.tracer = o.Traces.Tracer(tracerName)
	}
	in.echo = in.routes()
	in.metrics.know(in.echo)
	return in, nil
}

// Handler is the public API, for tests that bring their own server.
func (in *Ingress) Handler() http.Handler { return in.echo }

// Run serves until ctx ends, then drains: readiness goes off, no connection is
// accepted any more, and who waits is answered.
func (in *Ingress) Run(ctx context.Context) error {
	if err := in.replies.listen(); err != nil {
		return errors.Join(fmt.Errorf("listen for replies: %w", err), in.o.Listener.Close())
	}
	defer in.replies.close()
	srv := &http.Server{
		Handler: in.echo, ReadHeaderTimeout: in.o.HeaderTimeout, MaxHeaderBytes: in.o.MaxHeader, IdleTimeout: time.Minute,
		// It bounds what nobody reads, too: net/http reads to the end what a
		// refusal left of a body. Once the body is there it no longer counts.
		ReadTimeout:  in.o.HeaderTimeout + in.o.ReadTimeout,
		WriteTimeout: in.o.Cap + in.writeSlack(),
		ErrorLog:     quiet(in.o.Log),
	}
	failed := make(chan error, 2)
	go func() { failed <- srv.Serve(in.o.Listener) }()
	if in.o.Admin != nil {
		in.o.Admin.open(in)
		go func() { failed <- in.o.Admin.serve() }()
	}
	in.o.Log.Info().Str("address", in.o.Listener.Addr().String()).Msg("ingress ready")
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("serve: %w", err)
	}
	return errors.Join(err, in.drain(srv))
}

func (in *Ingress) drain(srv *http.Server) error {
	in.ready.Stop()
	release := time.AfterFunc(in.o.DrainWait, in.stopWaiting)
	defer release.Stop()
	// After DrainWait every waiting request is answered with 202, so that the
	// rest is only the time to write.
	ctx, cancel := context.WithTimeout(context.Background(), in.o.DrainWait+5*time.Second)
	defer cancel()
	var err error
	if srv.Shutdown(ctx) != nil {
		// A client that is still sending its request holds no answer of ours.
		in.o.Log.Warn().Msg("connections that did not end in time are cut")
		err = srv.Close()
	}
	in.stopWaiting()
	in.abandoned.close()
	in.publish.close()
	if in.o.Admin != nil {
		err = errors.Join(err, in.o.Admin.close())
	}
	return err
}

// Take gives a reply to the requests that wait for it, if subject is this
// process' inbox. Workers in the same process call it instead of publishing.
func (in *Ingress) Take(subject string, reply contracts.Reply) bool {
	if subject != in.replies.subject {
		return false
	}
	in.replies.deliver(reply)
	return true
}

// Waiting is how many requests wait for an answer.
func (in *Ingress) Waiting() int { return in.replies.load() }

// Ready is what /readyz says.
func (in *Ingress) Ready(ctx context.Context) contracts.Ready { return in.ready.Look(ctx) }

func (in *Ingress) stopWaiting() { in.drainOnce.Do(func() { close(in.draining) }) }

func setDefaults(o *Options) {
	durations := []struct {
		d    *time.Duration
		want time.Duration
	}{
		{&o.HeaderTimeout, 5 * time.Second}, {&o.ReadTimeout, 15 * time.Second}, {&o.Cap, 55 * time.Second},
		{&o.OpenAICap, 5 * time.Minute},
		{&o.StreamCap, 10 * time.Minute}, {&o.KeepAlive, 15 * time.Second}, {&o.WriteWait, 30 * time.Second},
		{&o.Publish, 2 * time.Second}, {&o.DoneTTL, 24 * time.Hour}, {&o.DrainWait, 5 * time.Second},
	}
	for _, d := range durations {
		if *d.d == 0 {
			*d.d = d.want
		}
	}
	if o.MaxBody == 0 {
		o.MaxBody = 64 << 10
	}
	if o.MaxOpenAIBody == 0 {
		o.MaxOpenAIBody = 960 << 10
	}
	if o.MaxChars == 0 {
		o.MaxChars = 2048
	}
	if o.Filter == "" {
		o.Filter = filter.Normal
	}
	if o.MaxHeader == 0 {
		o.MaxHeader = 16 << 10
	}
	if o.MaxWaiting == 0 {
		o.MaxWaiting = 20000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

func (o *Options) check() error {
	var errs []error
	need := map[string]bool{
		"Node": o.Node != "", "Listener": o.Listener != nil, "Conn": o.Conn != nil, "Store": o.Store != nil, "Sessions": o.Sessions != nil,
		"Opener": o.Opener != nil, "Sealer": o.Sealer != nil, "Namer": o.Namer != nil, "Verifier": o.Verifier != nil,
	}
	for name, given := range need {
		if !given {
			errs = append(errs, fmt.Errorf("%s is required", name))
		}
	}
	if !o.Rate.IsZero() {
		errs = append(errs, o.Rate.Check())
	}
	if o.Filter != "" && !o.Filter.Known() {
		errs = append(errs, fmt.Errorf("there is no filter %q", o.Filter))
	}
	if o.Admin != nil {
		errs = append(errs, o.Admin.check())
	}
	return errors.Join(errs...)
}
