package observe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"

	"moltbot/contracts"
)

// NewRegistry gives a registry with the metrics of every Go process. The
// library's global one is never used.
func NewRegistry(version string) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	promauto.With(reg).NewGaugeVec(prometheus.GaugeOpts{
		Name: "moltbot_build_info", Help: "Always 1; the labels say what was built.",
	}, []string{"version", "go_version"}).WithLabelValues(version, runtime.Version()).Set(1)
	return reg
}

// MetricsOptions of a MetricsServer. All are required.
type MetricsOptions struct {
	Listener net.Listener // closed by Run
	Gather   prometheus.Gatherer
	// Ready is what /readyz answers.
	Ready func(context.Context) contracts.Ready
	Log   zerolog.Logger
}

// MetricsServer serves /metrics, /livez and /readyz to whoever reaches its
// address. It asks for no token and takes no input.
type MetricsServer struct {
	o   MetricsOptions
	srv *http.Server
}

// Limits of the metrics server.
const (
	scrapesAtOnce = 4
	scrapeTimeout = 5 * time.Second
)

// NewMetricsServer gives a server that does not serve yet.
func NewMetricsServer(o MetricsOptions) *MetricsServer {
	s := &MetricsServer{o: o}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Gather, promhttp.HandlerOpts{
		// What cannot be collected is left out; the rest is still worth having.
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: scrapesAtOnce, Timeout: scrapeTimeout,
	}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		s.answer(w, http.StatusOK, map[string]string{"status": "live"})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ready := o.Ready(r.Context())
		status := http.StatusOK
		if ready.Status != contracts.StatusReady {
			status = http.StatusServiceUnavailable
		}
		s.answer(w, status, ready)
	})
	s.srv = &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 15 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10, ErrorLog: quiet(o.Log),
	}
	return s
}

func (s *MetricsServer) answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		s.o.Log.Debug().Err(err).Msg("probe not answered")
	}
}

// Run serves until ctx ends.
func (s *MetricsServer) Run(ctx context.Context) error {
	failed := make(chan error, 1)
	go func() { failed <- s.srv.Serve(s.o.Listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve metrics: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if s.srv.Shutdown(stop) != nil {
		_ = s.srv.Close() // a scrape that does not end
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}
