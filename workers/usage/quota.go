package usage

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/rs/zerolog"

	"moltbot/contracts"
)

// quotas watches how much of each provider's tokens of the day is used, by all
// processes together. Redis adds the processes' counts up one after the other,
// so exactly one of them takes the sum across a threshold: that one says so.
type quotas struct {
	o  Options
	mu sync.Mutex
	is map[string]total // by provider
}

type total struct {
	day    string
	tokens int64
}

// threshold is a part of a quota, in percent, that is worth a word.
type threshold struct {
	percent int64
	level   zerolog.Level
}

func thresholds() []threshold {
	return []threshold{{80, zerolog.WarnLevel}, {95, zerolog.ErrorLevel}, {100, zerolog.ErrorLevel}}
}

func newQuotas(o Options) *quotas {
	q := &quotas{o: o, is: make(map[string]total)}
	if o.Metrics == nil {
		return q
	}
	with := promauto.With(o.Metrics)
	for provider, quota := range o.Quotas {
		if quota <= 0 {
			continue
		}
		with.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "moltbot_model_quota_used_ratio", ConstLabels: prometheus.Labels{"provider": provider},
			Help: "Part of a provider's tokens of the day that is used, as this process last heard of it.",
		}, func() float64 { return q.used(provider, quota) })
	}
	return q
}

// used is a part of the quota; yesterday's tokens are not today's.
func (q *quotas) used(provider string, quota int64) float64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	is := q.is[provider]
	if is.day != contracts.Day(q.o.Now()) {
		return 0
	}
	return float64(is.tokens) / float64(quota)
}

// now takes in that the tokens of a day went up.
func (q *quotas) now(day, provider string, before, after int64) {
	q.mu.Lock()
	if day >= q.is[provider].day {
		q.is[provider] = total{day, after}
	}
	q.mu.Unlock()
	quota := q.o.Quotas[provider]
	if quota <= 0 {
		return
	}
	for _, t := range thresholds() {
		mark := quota / 100 * t.percent
		if quota < 100 {
			mark = quota * t.percent / 100
		}
		if before < mark && after >= mark {
			q.o.Log.WithLevel(t.level).Str("provider", provider).Str("day", day).Int64("tokens", after).Int64("quota", quota).
				Int64("percent", t.percent).Msg("the provider's tokens of the day are running out")
		}
	}
}
