package ingress

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// streamMetrics count what happens to clients that read along.
type streamMetrics struct {
	open                   prometheus.Gauge
	pieces, lapsed, resets prometheus.Counter
	abandoned              prometheus.Counter
}

func newStreamMetrics(with promauto.Factory) streamMetrics {
	return streamMetrics{
		open: with.NewGauge(prometheus.GaugeOpts{
			Name: "moltbot_ingress_streams_open", Help: "Clients that read an answer while it is made.",
		}),
		pieces: with.NewCounter(prometheus.CounterOpts{
			Name: "moltbot_ingress_stream_pieces_total", Help: "Pieces of answers that came from workers for somebody who reads along.",
		}),
		lapsed: with.NewCounter(prometheus.CounterOpts{
			Name: "moltbot_ingress_stream_lapses_total",
			Help: "Times a stream fell behind: a piece got lost, or the client reads too slowly. What is missing follows later, at the latest with the result.",
		}),
		resets: with.NewCounter(prometheus.CounterOpts{
			Name: "moltbot_ingress_stream_resets_total", Help: "Times a client was told that what it was shown is void, because the message is run again.",
		}),
		abandoned: with.NewCounter(prometheus.CounterOpts{
			Name: "moltbot_ingress_abandoned_total", Help: "Messages whose only reader left, and whose model call was to be cancelled.",
		}),
	}
}
