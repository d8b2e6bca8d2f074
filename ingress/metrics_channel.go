package ingress

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"moltbot/ingress/im"
)

// eventCounts are the events of one long connection.
type eventCounts struct{ stored, failed prometheus.Counter }

func (c *eventCounts) count(err error) {
	if err != nil {
		c.failed.Inc()
		return
	}
	c.stored.Inc()
}

// countChannels makes the metrics of the applications that have a long
// connection. Their names are those of the configuration.
func countChannels(reg prometheus.Registerer, all []*connection) {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	with := promauto.With(reg)
	events := with.NewCounterVec(prometheus.CounterOpts{
		Name: "moltbot_channel_events_total",
		Help: "Events that came over long connections: stored ones, and failed ones, which the platform is asked to send again.",
	}, []string{"channel", "app", "outcome"})
	for _, n := range all {
		if n.app.Connection == nil {
			continue
		}
		channel, app := string(n.app.Channel), n.app.Name
		labels := prometheus.Labels{"channel": channel, "app": app}
		n.counts = eventCounts{events.WithLabelValues(channel, app, "stored"), events.WithLabelValues(channel, app, "failed")}
		with.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "moltbot_channel_connected", Help: "1 while this process has the long connection of an application, and it receives.", ConstLabels: labels,
		}, func() float64 {
			if n.state() == im.Connected {
				return 1
			}
			return 0
		})
		with.NewCounterFunc(prometheus.CounterOpts{
			Name: "moltbot_channel_reconnects_total", Help: "Long connections that were made again after the first.", ConstLabels: labels,
		}, func() float64 { return float64(max(0, n.stats().Connects-1)) })
		with.NewCounterFunc(prometheus.CounterOpts{
			Name: "moltbot_channel_refused_total", Help: "Frames of long connections that could not be read or were for another application.", ConstLabels: labels,
		}, func() float64 { return float64(n.stats().Refused) })
	}
}
