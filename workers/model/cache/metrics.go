package cache

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Where an answer came from.
const (
	fromMemory = iota
	fromRedis
	fromFlight // a call of this process that was under way
	fromModel
	origins
)

// metrics counts what became of the requests that may be answered twice.
type metrics struct {
	requests [origins]prometheus.Counter
	failures prometheus.Counter
}

// newMetrics registers with reg; nil: with a registry of its own that nobody reads.
func newMetrics(reg prometheus.Registerer, size func() float64) *metrics {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	with := promauto.With(reg)
	m := &metrics{failures: with.NewCounter(prometheus.CounterOpts{
		Name: "moltbot_cache_failures_total", Help: "Times Redis did not answer the cache, or held what cannot be read.",
	})}
	requests := with.NewCounterVec(prometheus.CounterOpts{
		Name: "moltbot_cache_requests_total",
		Help: "Requests that may be answered from the cache, by where the answer came from: memory, redis, flight or model.",
	}, []string{"origin"})
	for i, origin := range [origins]string{"memory", "redis", "flight", "model"} {
		m.requests[i] = requests.WithLabelValues(origin)
	}
	with.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "moltbot_cache_memory_bytes", Help: "Size of the answers that this process keeps in memory.",
	}, size)
	return m
}
