package usage

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"moltbot/contracts"
)

// metrics count by provider and model, never by caller. How calls ended counts
// whoever makes them.
type metrics struct {
	tokens, cost    *prometheus.CounterVec
	duration, first *prometheus.HistogramVec
	failures, lost  prometheus.Counter

	models sync.Map // *modelMetrics by provider and name
}

// newMetrics registers with reg; nil: with a registry of its own that nobody reads.
func newMetrics(reg prometheus.Registerer) *metrics {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	with := promauto.With(reg)
	labels := func(more ...string) []string { return append([]string{"provider", "model"}, more...) }
	return &metrics{
		tokens: with.NewCounterVec(prometheus.CounterOpts{
			Name: "moltbot_model_tokens_total", Help: "Tokens of calls, also of those that were cut, by provider, model and kind: prompt or completion.",
		}, labels("kind")),
		cost: with.NewCounterVec(prometheus.CounterOpts{
			Name: "moltbot_model_cost_total", Help: "Cost of calls by the price list, in the operator's currency.",
		}, labels()),
		duration: with.NewHistogramVec(prometheus.HistogramOpts{
			Name: "moltbot_model_call_duration_seconds", Help: "Duration of single calls of providers, whatever came of them.",
			Buckets: []float64{.005, .025, .1, .25, .5, 1, 2.5, 5, 10, 20, 40, 60, 120},
		}, labels()),
		first: with.NewHistogramVec(prometheus.HistogramOpts{
			Name: "moltbot_model_first_token_seconds", Help: "Time to the first token, where the provider streams.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, labels()),
		failures: with.NewCounter(prometheus.CounterOpts{
			Name: "moltbot_usage_write_failures_total", Help: "Writes of usage that Redis did not confirm and that are repeated.",
		}),
		lost: with.NewCounter(prometheus.CounterOpts{
			Name: "moltbot_usage_lost_total", Help: "Answers whose usage was not counted, because too much waited for Redis.",
		}),
	}
}

// modelMetrics are those of one provider and model, resolved.
type modelMetrics struct {
	prompt, completion, cost prometheus.Counter
	duration, first          prometheus.Observer
}

func (m *metrics) of(provider, name string) *modelMetrics {
	key := [2]string{provider, name}
	if known, ok := m.models.Load(key); ok {
		return known.(*modelMetrics)
	}
	out := &modelMetrics{
		prompt: m.tokens.WithLabelValues(provider, name, "prompt"), completion: m.tokens.WithLabelValues(provider, name, "completion"),
		cost:     m.cost.WithLabelValues(provider, name),
		duration: m.duration.WithLabelValues(provider, name), first: m.first.WithLabelValues(provider, name),
	}
	m.models.Store(key, out)
	return out
}

func (m *modelMetrics) called(took, first time.Duration) {
	m.duration.Observe(max(0, took.Seconds()))
	if first > 0 {
		m.first.Observe(first.Seconds())
	}
}

func (m *modelMetrics) spent(u contracts.Usage, cost float64) {
	m.prompt.Add(float64(max(0, u.PromptTokens)))
	m.completion.Add(float64(max(0, u.CompletionTokens)))
	m.cost.Add(max(0, cost))
}
