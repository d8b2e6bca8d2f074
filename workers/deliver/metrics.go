package deliver

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"moltbot/contracts"
)

// Outcome is what became of an answer, for metrics.
type Outcome string

// The outcomes. Retry is no end: the answer is tried again.
const (
	OutcomeSent      Outcome = "sent"
	OutcomeUncertain Outcome = "uncertain"
	OutcomeFailed    Outcome = "failed"
	OutcomeStale     Outcome = "stale" // too old to be answered
	OutcomeRetry     Outcome = "retry"
)

// otherChannel stands for a channel of which nothing is known.
const otherChannel = "other"

// Metrics counts what becomes of answers. The nil *Metrics counts nothing.
type Metrics struct {
	outcomes *prometheus.CounterVec
	parts    *prometheus.CounterVec
	took     *prometheus.HistogramVec
}

// NewMetrics registers with reg; nil: with a registry of its own that nobody reads.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	with := promauto.With(reg)
	m := &Metrics{
		outcomes: with.NewCounterVec(prometheus.CounterOpts{
			Name: "moltbot_delivery_total", Help: "Answers on their way out, by what became of them; retry counts tries that are repeated.",
		}, []string{"channel", "outcome"}),
		parts: with.NewCounterVec(prometheus.CounterOpts{
			Name: "moltbot_delivery_parts_total", Help: "Tries to send a part of an answer, by what became of them.",
		}, []string{"channel", "outcome"}),
		took: with.NewHistogramVec(prometheus.HistogramOpts{
			Name: "moltbot_delivery_duration_seconds", Help: "Time from the acceptance of a message until all of its answer is sent.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 900, 3600},
		}, []string{"channel"}),
	}
	for _, c := range []string{string(contracts.ChannelFeishu), string(contracts.ChannelDingTalk), string(contracts.ChannelCallback), otherChannel} {
		for _, o := range []Outcome{OutcomeSent, OutcomeUncertain, OutcomeFailed, OutcomeStale, OutcomeRetry} {
			m.outcomes.WithLabelValues(c, string(o))
		}
		for _, o := range []string{contracts.DeliverySent, contracts.DeliveryPending, contracts.DeliveryUncertain, contracts.DeliveryFailed} {
			m.parts.WithLabelValues(c, o)
		}
		m.took.WithLabelValues(c)
	}
	return m
}

// label keeps the set of labels closed: anybody who may write to the stream can
// name a channel.
func label(c contracts.Channel) string {
	switch c {
	case contracts.ChannelFeishu, contracts.ChannelDingTalk, contracts.ChannelCallback:
		return string(c)
	}
	return otherChannel
}

// Stale counts a message that was too old before anything was sent for it.
func (m *Metrics) Stale(c contracts.Channel) { m.ended(c, OutcomeStale) }

func (m *Metrics) ended(c contracts.Channel, o Outcome) {
	if m != nil {
		m.outcomes.WithLabelValues(label(c), string(o)).Inc()
	}
}

func (m *Metrics) part(c contracts.Channel, outcome string) {
	if m != nil {
		m.parts.WithLabelValues(label(c), outcome).Inc()
	}
}

func (m *Metrics) delivered(c contracts.Channel, accepted, now time.Time) {
	m.ended(c, OutcomeSent)
	if m != nil {
		m.took.WithLabelValues(label(c)).Observe(max(0, now.Sub(accepted).Seconds()))
	}
}
