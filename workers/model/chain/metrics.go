package chain

import (
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"moltbot/contracts"
	"moltbot/workers/model"
)

// metrics counts what a chain does. Its labels are names of the table and of the
// configuration, never what a caller wrote.
type metrics struct {
	calls, retries, fallbacks, trims, apologies *prometheus.CounterVec
}

// newMetrics registers with reg; nil: with a registry of its own that nobody reads.
func newMetrics(reg prometheus.Registerer) *metrics {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	with := promauto.With(reg)
	count := func(name, help string, labels ...string) *prometheus.CounterVec {
		return with.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	return &metrics{
		calls:     count("moltbot_model_calls_total", "Calls of providers, by model of the table and how they ended.", "model", "outcome"),
		retries:   count("moltbot_model_retries_total", "Calls that were repeated at once with the same model.", "model"),
		fallbacks: count("moltbot_model_fallbacks_total", "Times another model was asked because the chosen one failed.", "model", "fallback"),
		trims:     count("moltbot_model_trims_total", "Prompts that were too long for a model and were shortened.", "model"),
		apologies: count("moltbot_model_apologies_total", "Messages answered with an apology because no model answered.", "model"),
	}
}

// begin shows the models of a table before anything has happened to them.
func (m *metrics) begin(models map[string]contracts.ModelEntry) {
	for name, e := range models {
		for _, v := range []*prometheus.CounterVec{m.retries, m.trims, m.apologies} {
			v.WithLabelValues(name)
		}
		for _, f := range e.Fallback {
			m.fallbacks.WithLabelValues(name, f)
		}
	}
}

func (m *metrics) called(name string, err error, gaveUp bool) {
	outcome := "ok"
	switch kind := model.KindOf(err); {
	case gaveUp:
		outcome = "canceled"
	case kind != model.KindNone:
		outcome = kind.String()
	case err != nil:
		outcome = "other"
	}
	m.calls.WithLabelValues(name, outcome).Inc()
}

func (m *metrics) retried(name string)      { m.retries.WithLabelValues(name).Inc() }
func (m *metrics) fellBack(from, to string) { m.fallbacks.WithLabelValues(from, to).Inc() }
func (m *metrics) trimmed(name string)      { m.trims.WithLabelValues(name).Inc() }
func (m *metrics) apologized(name string)   { m.apologies.WithLabelValues(name).Inc() }

// watch shows how things stand with the chain's breakers and permits.
func (m *metrics) watch(reg prometheus.Registerer, c *Chain) {
	if reg != nil {
		reg.MustRegister(&collector{chain: c, breaker: desc("moltbot_model_breaker_state",
			"Whether calls of a provider are let through: 0 yes, 1 one as a trial, 2 none.", "provider"),
			held:     desc("moltbot_model_permits_held", "Permits for model calls that this process has, in use or not.", "model"),
			running:  desc("moltbot_model_permits_in_use", "Permits that model calls run on.", "model"),
			waiting:  desc("moltbot_model_calls_waiting", "Model calls that wait for a permit.", "model"),
			failures: desc("moltbot_model_permit_failures_total", "Questions for permits that Redis did not answer.", "model"),
		})
	}
}

func desc(name, help, label string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, []string{label}, nil)
}

// collector reads a chain, whose providers and permits change with its table.
type collector struct {
	chain                                     *Chain
	breaker, held, running, waiting, failures *prometheus.Desc
}

// Describe gives the names.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.breaker, c.held, c.running, c.waiting, c.failures} {
		out <- d
	}
}

// Collect gives the values.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	s := c.chain.state.Load()
	for _, name := range s.providerNames() {
		out <- prometheus.MustNewConstMetric(c.breaker, prometheus.GaugeValue, stateOf(s.providers[name].breaker), name)
	}
	for id, limit := range c.chain.limits() {
		now := limit.State()
		out <- prometheus.MustNewConstMetric(c.held, prometheus.GaugeValue, float64(now.Held), id)
		out <- prometheus.MustNewConstMetric(c.running, prometheus.GaugeValue, float64(now.Running), id)
		out <- prometheus.MustNewConstMetric(c.waiting, prometheus.GaugeValue, float64(now.Waiting), id)
		out <- prometheus.MustNewConstMetric(c.failures, prometheus.CounterValue, float64(now.Failures), id)
	}
}

func stateOf(b *breaker) float64 {
	switch b.circuit.State() {
	case circuitbreaker.OpenState:
		return 2
	case circuitbreaker.HalfOpenState:
		return 1
	}
	return 0
}
