package observe

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
)

// Times of the sampling.
const (
	sampleEvery   = 5 * time.Second
	sampleTimeout = 2 * time.Second
)

// RoundTrips asks NATS and Redis now and then how long an answer takes, beside
// the messages and at no cost to them.
type RoundTrips struct {
	redis   redis.UniversalClient
	redisUp prometheus.Gauge
	writes  prometheus.Gauge
	reg     prometheus.Registerer
	nats    []natsConn
	took    *prometheus.HistogramVec
}

type natsConn struct {
	conn *nats.Conn
	took prometheus.Observer
}

// NewRoundTrips registers with reg.
func NewRoundTrips(reg prometheus.Registerer, rdb redis.UniversalClient) *RoundTrips {
	with := promauto.With(reg)
	return &RoundTrips{
		redis: rdb, reg: reg,
		redisUp: with.NewGauge(prometheus.GaugeOpts{
			Name: "moltbot_redis_up", Help: "1 while Redis answers; asked every five seconds.",
		}),
		writes: with.NewGauge(prometheus.GaugeOpts{
			Name: "moltbot_redis_writable", Help: "1 while Redis takes writes; asked every five seconds.",
		}),
		took: with.NewHistogramVec(prometheus.HistogramOpts{
			Name: "moltbot_nats_round_trip_seconds", Help: "Round trip to the NATS server, sampled every five seconds.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2},
		}, []string{"connection"}),
	}
}

// Add watches a connection. The name is that of its role. Call it before Run.
func (r *RoundTrips) Add(name string, nc *nats.Conn) {
	r.nats = append(r.nats, natsConn{nc, r.took.WithLabelValues(name)})
	with := promauto.With(prometheus.WrapRegistererWith(prometheus.Labels{"connection": name}, r.reg))
	with.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "moltbot_nats_connected", Help: "1 while the connection to NATS is there.",
	}, func() float64 {
		if nc.IsConnected() {
			return 1
		}
		return 0
	})
	with.NewCounterFunc(prometheus.CounterOpts{
		Name: "moltbot_nats_reconnects_total", Help: "Times the connection to NATS was lost and made again.",
	}, func() float64 { return float64(nc.Stats().Reconnects) })
}

// Run samples until ctx ends.
func (r *RoundTrips) Run(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		r.sample(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (r *RoundTrips) sample(ctx context.Context) {
	for _, n := range r.nats {
		if took, ok := ping(ctx, n.conn); ok {
			n.took.Observe(took.Seconds())
		}
	}
	ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	r.redisUp.Set(well(r.redis.Ping(ctx).Err()))
	r.writes.Set(well(r.redis.Set(ctx, contracts.KeyProbe(), "", time.Minute).Err()))
}

func well(err error) float64 {
	if err != nil {
		return 0
	}
	return 1
}

// ping is what nats.Conn.RTT does, with a time limit of ours.
func ping(ctx context.Context, nc *nats.Conn) (time.Duration, bool) {
	if !nc.IsConnected() {
		return 0, false
	}
	ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	began := time.Now()
	err := nc.FlushWithContext(ctx)
	return time.Since(began), err == nil
}
