package ingress

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"moltbot/ingress/limit"
)

// countLimits shows what the limiter of callers counts by itself. A nil reg
// shows nothing.
func countLimits(reg prometheus.Registerer, read func() limit.Stats) {
	if reg == nil {
		return
	}
	with := promauto.With(reg)
	show := func(o prometheus.CounterOpts, of func(limit.Stats) uint64) {
		with.NewCounterFunc(o, func() float64 { return float64(of(read())) })
	}
	requests := func(outcome string) prometheus.CounterOpts {
		return prometheus.CounterOpts{
			Name: "moltbot_ingress_limit_requests_total", ConstLabels: prometheus.Labels{"outcome": outcome},
			Help: "Requests of callers that have a rate limit: allowed or refused.",
		}
	}
	show(requests("allowed"), func(s limit.Stats) uint64 { return s.Allowed })
	show(requests("refused"), func(s limit.Stats) uint64 { return s.Refused })
	show(prometheus.CounterOpts{
		Name: "moltbot_ingress_limit_shielded_total", Help: "Of the refused requests, those for which Redis was not asked.",
	}, func(s limit.Stats) uint64 { return s.Shielded })
	show(prometheus.CounterOpts{
		Name: "moltbot_ingress_limit_fallback_total", Help: "Requests that this process decided by its own count because Redis was away.",
	}, func(s limit.Stats) uint64 { return s.Fallback })
	show(prometheus.CounterOpts{
		Name: "moltbot_ingress_limit_calls_total", Help: "Calls to Redis for the shared count.",
	}, func(s limit.Stats) uint64 { return s.Calls })
	show(prometheus.CounterOpts{
		Name: "moltbot_ingress_limit_failures_total", Help: "Of these calls, those that failed or were too slow.",
	}, func(s limit.Stats) uint64 { return s.Failures })
}
