package workers

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"moltbot/workers/mailbox"
)

// deliveryMetrics counts what the mailbox over StreamSend and its pool do.
type deliveryMetrics struct {
	deliveries map[mailbox.Handled]prometheus.Counter
	events     map[mailbox.Event]prometheus.Counter
}

func newDeliveryMetrics(reg prometheus.Registerer) *deliveryMetrics {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	with := promauto.With(reg)
	m := &deliveryMetrics{deliveries: map[mailbox.Handled]prometheus.Counter{}, events: map[mailbox.Event]prometheus.Counter{}}
	deliveries := with.NewCounterVec(prometheus.CounterOpts{
		Name: "moltbot_deliver_deliveries_total", Help: "Deliveries of outgoing answers settled, by how.",
	}, []string{"handled"})
	for _, h := range mailbox.AllHandled() {
		m.deliveries[h] = deliveries.WithLabelValues(string(h))
	}
	for e, o := range map[mailbox.Event]prometheus.CounterOpts{
		mailbox.EventRedelivered: {Name: "moltbot_deliver_redeliveries_total", Help: "Deliveries of outgoing answers that were not an answer's first."},
		mailbox.EventDead:        {Name: "moltbot_deliver_dead_letters_total", Help: "Dead letters of outgoing answers stored."},
		mailbox.EventCommitAgain: {Name: "moltbot_deliver_commit_retries_total", Help: "Commits of sent answers that Redis did not confirm and that were repeated."},
	} {
		m.events[e] = with.NewCounter(o)
	}
	return m
}

func (m *deliveryMetrics) settled(h mailbox.Handled) {
	if c, ok := m.deliveries[h]; ok {
		c.Inc()
	}
}

// count passes over what is counted as an outcome of the answer.
func (m *deliveryMetrics) count(e mailbox.Event) {
	if c, ok := m.events[e]; ok {
		c.Inc()
	}
}

// pool shows the pool's slots.
func (m *deliveryMetrics) pool(reg prometheus.Registerer, p *pool) {
	if reg == nil {
		return
	}
	with := promauto.With(reg)
	with.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "moltbot_deliver_slots_limit", Help: "Answers this process sends at the same time, at most.",
	}, func() float64 { return float64(p.gate.size()) })
	with.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "moltbot_deliver_slots_in_use", Help: "Deliveries of outgoing answers this process works on at the moment.",
	}, func() float64 { return float64(p.busy.Load()) })
}
