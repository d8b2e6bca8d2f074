package workers

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/model"
)

// Outcomes that are not an error code.
const (
	outcomeOK       = "ok"
	outcomeCanceled = "canceled" // the run ended first: shutdown, or the lease was lost
	outcomeOther    = "other"    // an error without a code
	outcomeApology  = "apology"  // an apology took the place of the error
)

// What became of asking for summaries.
const (
	summaryAsked   = "asked"
	summaryFailed  = "failed"
	summaryDropped = "dropped"
)

// slow are buckets from milliseconds, for a demo or a cached answer, to the
// minutes that models and queues take.
func slow() []float64 {
	return []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 900}
}

// metrics counts what the workers do. Label values are resolved here, once. The
// nil *metrics counts nothing.
type metrics struct {
	deliveries map[mailbox.Handled]prometheus.Counter
	events     [mailbox.Events]prometheus.Counter
	attempts   prometheus.Counter
	running    prometheus.Gauge
	pieces     prometheus.Counter
	startDelay prometheus.Observer
	model      map[string]prometheus.Observer
	commands   map[contracts.CommandName]prometheus.Counter
	summaries  map[string]prometheus.Counter
	unreadable prometheus.Counter
	answered   prometheus.Observer
	failed     prometheus.Observer
	now        func() time.Time
}

// newMetrics registers with reg; nil: with a registry of its own that nobody reads.
func newMetrics(reg prometheus.Registerer, now func() time.Time) *metrics {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	with := promauto.With(reg)
	m := &metrics{now: now, deliveries: map[mailbox.Handled]prometheus.Counter{}, model: map[string]prometheus.Observer{}}
	deliveries := with.NewCounterVec(prometheus.CounterOpts{
		Name: "moltbot_workers_deliveries_total", Help: "Deliveries settled, by how.",
	}, []string{"handled"})
	for _, h := range mailbox.AllHandled() {
		m.deliveries[h] = deliveries.WithLabelValues(string(h))
	}
	for e, o := range events() {
		m.events[e] = with.NewCounter(o)
	}
	m.attempts = with.NewCounter(prometheus.CounterOpts{
		Name: "moltbot_workers_attempts_total", Help: "Runs of messages that were begun, first ones and repeated ones.",
	})
	m.running = with.NewGauge(prometheus.GaugeOpts{
		Name: "moltbot_workers_runs_in_progress", Help: "Messages that are being run at the moment.",
	})
	m.pieces = with.NewCounter(prometheus.CounterOpts{
		Name: "moltbot_workers_stream_pieces_total", Help: "Pieces of answers sent to those who read along.",
	})
	commands := with.NewCounterVec(prometheus.CounterOpts{
		Name: "moltbot_workers_commands_total", Help: "Commands of users that were answered, by name.",
	}, []string{"command"})
	m.commands = map[contracts.CommandName]prometheus.Counter{}
	for _, c := range []contracts.CommandName{contracts.CommandNew, contracts.CommandStop, contracts.CommandHelp, contracts.CommandModel} {
		m.commands[c] = commands.WithLabelValues(string(c))
	}
	m.startDelay = with.NewHistogram(prometheus.HistogramOpts{
		Name: "moltbot_workers_start_delay_seconds", Buckets: slow(),
		Help: "Time from the acceptance of a message to the beginning of its first run.",
	})
	m.summaries = summaryMetrics(with)
	m.unreadable = with.NewCounter(prometheus.CounterOpts{
		Name: "moltbot_workers_summaries_unreadable_total", Help: "Summaries that did not open and were left out of a prompt.",
	})
	asked := with.NewHistogramVec(prometheus.HistogramOpts{
		Name: "moltbot_model_request_duration_seconds", Buckets: slow(), Help: "Duration of model calls, by outcome.",
	}, []string{"outcome"})
	for _, outcome := range []string{
		outcomeOK, outcomeCanceled, outcomeOther, outcomeApology, string(contracts.CodeModelFailed), string(contracts.CodeModelTimeout),
		string(contracts.CodeModelAnswer),
	} {
		m.model[outcome] = asked.WithLabelValues(outcome)
	}
	whole := with.NewHistogramVec(prometheus.HistogramOpts{
		Name: "moltbot_message_duration_seconds", Buckets: slow(),
		Help: "Time from the acceptance of a message to its commit, by whether it was answered or failed.",
	}, []string{"outcome"})
	m.answered, m.failed = whole.WithLabelValues("answered"), whole.WithLabelValues("failed")
	return m
}

func events() map[mailbox.Event]prometheus.CounterOpts {
	return map[mailbox.Event]prometheus.CounterOpts{
		mailbox.EventRedelivered: {Name: "moltbot_workers_redeliveries_total", Help: "Deliveries that were not a message's first."},
		mailbox.EventRetry:       {Name: "moltbot_workers_retries_total", Help: "Failed runs that are tried again after a back-off."},
		mailbox.EventDead:        {Name: "moltbot_workers_dead_letters_total", Help: "Dead letters stored."},
		mailbox.EventCommitAgain: {Name: "moltbot_workers_commit_retries_total", Help: "Commits that Redis did not confirm and that were repeated."},
		mailbox.EventOutStored:   {Name: "moltbot_workers_outbox_stored_total", Help: "Outbox entries stored for delivery."},
		mailbox.EventOutHeld:     {Name: "moltbot_workers_outbox_held_total", Help: "Times a conversation was closed because its outbox could not be stored."},
		mailbox.EventMended:      {Name: "moltbot_workers_foreign_values_total", Help: "Times values of a foreign type were taken from a conversation's keys in Redis."},
	}
}

func summaryMetrics(with promauto.Factory) map[string]prometheus.Counter {
	asked := with.NewCounterVec(prometheus.CounterOpts{
		Name: "moltbot_workers_summaries_asked_total", Help: "Times that turns which left the prompt were to be summarized, by what became of asking.",
	}, []string{"outcome"})
	all := map[string]prometheus.Counter{}
	for _, outcome := range []string{summaryAsked, summaryFailed, summaryDropped} {
		all[outcome] = asked.WithLabelValues(outcome)
	}
	return all
}

// pool shows the pool's slots.
func (m *metrics) pool(reg prometheus.Registerer, p *pool) {
	if reg == nil {
		return
	}
	with := promauto.With(reg)
	with.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "moltbot_workers_slots_limit", Help: "Messages this process works on at the same time, at most.",
	}, func() float64 { return float64(p.gate.size()) })
	with.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "moltbot_workers_slots_in_use", Help: "Deliveries this process works on at the moment.",
	}, func() float64 { return float64(p.busy.Load()) })
}

func (m *metrics) settled(h mailbox.Handled) {
	if m == nil {
		return
	}
	if c, ok := m.deliveries[h]; ok {
		c.Inc()
	}
}

func (m *metrics) count(e mailbox.Event) { m.events[e].Inc() }

// begin counts a run; end is called at its end.
func (m *metrics) begin(t mailbox.Task, accepted time.Time) {
	if m == nil {
		return
	}
	m.attempts.Inc()
	m.running.Inc()
	if t.Attempt <= 1 {
		m.startDelay.Observe(since(m.now(), accepted))
	}
}

func (m *metrics) end() {
	if m != nil {
		m.running.Dec()
	}
}

func (m *metrics) piece() {
	if m != nil {
		m.pieces.Inc()
	}
}

func (m *metrics) commanded(c contracts.CommandName) {
	if m != nil {
		m.commands[c].Inc()
	}
}

func (m *metrics) summaryAsked(outcome string) {
	if m != nil {
		m.summaries[outcome].Inc()
	}
}

// unopened counts a summary that does not open.
func (m *metrics) unopened() {
	if m != nil {
		m.unreadable.Inc()
	}
}

func (m *metrics) asked(took time.Duration, err error) {
	if m == nil {
		return
	}
	o, ok := m.model[outcomeOf(err)]
	if !ok {
		o = m.model[outcomeOther]
	}
	o.Observe(max(0, took.Seconds()))
}

// errApology stands for the failure behind an apology.
var errApology = errors.New("no model answered, the answer is an apology")

func apologyOr(a model.Answer, err error) error {
	if a.Apology {
		return errApology
	}
	return err
}

func outcomeOf(err error) string {
	if err == nil {
		return outcomeOK
	}
	var e *contracts.Error
	switch {
	case errors.Is(err, errApology):
		return outcomeApology
	case errors.As(err, &e):
		return string(e.Code)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return outcomeCanceled
	}
	return outcomeOther
}

// ended takes the time of acceptance from the message's id; a made-up id has none.
func (m *metrics) ended(id string, answered bool) {
	parsed, err := contracts.ParseID(id)
	if err != nil {
		return
	}
	o := m.failed
	if answered {
		o = m.answered
	}
	o.Observe(since(m.now(), parsed.At))
}

// since is never negative: the accepting process may have another clock.
func since(now, then time.Time) float64 { return max(0, now.Sub(then).Seconds()) }
