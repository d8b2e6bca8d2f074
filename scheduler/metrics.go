package scheduler

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"moltbot/contracts"
)

// Outcomes of a run.
const (
	outcomeDone    = "done"
	outcomeRetry   = "retry"    // failed, tried again
	outcomeGivenUp = "given_up" // failed, archived
)

// otherTask is the label of a type that has no handler here.
const otherTask = "other"

type metrics struct {
	runs  *prometheus.CounterVec
	times *prometheus.HistogramVec
	known map[string]bool
}

// newMetrics registers with reg; nil: with a registry of its own that nobody reads.
func newMetrics(reg prometheus.Registerer, handlers map[contracts.TaskType]Handler) *metrics {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	with := promauto.With(reg)
	m := &metrics{known: make(map[string]bool)}
	m.runs = with.NewCounterVec(prometheus.CounterOpts{
		Name: "moltbot_task_runs_total", Help: "Runs of background tasks that ended, by type and outcome.",
	}, []string{"type", "outcome"})
	m.times = with.NewHistogramVec(prometheus.HistogramOpts{
		Name: "moltbot_task_duration_seconds", Help: "Duration of runs of background tasks, by type.",
		Buckets: []float64{.01, .05, .25, 1, 5, 20, 60, 300, 1800},
	}, []string{"type"})
	labels := []string{otherTask}
	for t := range handlers {
		m.known[string(t)] = true
		labels = append(labels, string(t))
	}
	for _, t := range labels {
		for _, outcome := range []string{outcomeDone, outcomeRetry, outcomeGivenUp} {
			m.runs.WithLabelValues(t, outcome)
		}
		m.times.WithLabelValues(t)
	}
	return m
}

func (m *metrics) count(task, outcome string) { m.runs.WithLabelValues(m.label(task), outcome).Inc() }

func (m *metrics) ran(task string, took time.Duration) {
	m.times.WithLabelValues(m.label(task)).Observe(took.Seconds())
}

// label keeps the set of labels closed: types come from whoever wrote the task.
func (m *metrics) label(task string) string {
	if m.known[task] {
		return task
	}
	return otherTask
}
