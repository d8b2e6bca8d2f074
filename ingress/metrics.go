package ingress

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"moltbot/contracts"
)

// classes are the status classes of answers.
const classes = 5

// otherRoute stands for every path that is none of ours.
const otherRoute = "other"

type routeKey struct{ method, path string }

// metrics counts what ingress does. Label values are resolved here, once.
type metrics struct {
	fresh, repeated prometheus.Counter
	problems        map[contracts.Code]prometheus.Counter
	store           prometheus.Observer
	taken, gone     prometheus.Counter
	batches         prometheus.Observer
	split           prometheus.Counter
	streamMetrics
	webhookMetrics
	unbudgeted prometheus.Counter // let through without a look at the budget

	requests *prometheus.HistogramVec
	routes   map[routeKey]*[classes]prometheus.Observer
	other    *[classes]prometheus.Observer
}

// newMetrics registers with reg; nil: with a registry of its own that nobody reads.
func newMetrics(reg prometheus.Registerer, waiting func() int) *metrics {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	with := promauto.With(reg)
	m := &metrics{problems: map[contracts.Code]prometheus.Counter{}, routes: map[routeKey]*[classes]prometheus.Observer{}}
	accepted := with.NewCounterVec(prometheus.CounterOpts{
		Name: "moltbot_ingress_accepted_total",
		Help: "Messages accepted: new ones, and repeated ones that were known already.",
	}, []string{"kind"})
	m.fresh, m.repeated = accepted.WithLabelValues("new"), accepted.WithLabelValues("repeated")
	problems := with.NewCounterVec(prometheus.CounterOpts{
		Name: "moltbot_ingress_refused_total",
		Help: "Requests answered with an error, by its code; the errors that messages ended with are among them.",
	}, []string{"code"})
	for _, c := range contracts.Codes() {
		m.problems[c] = problems.WithLabelValues(string(c))
	}
	m.store = with.NewHistogram(prometheus.HistogramOpts{
		Name: "moltbot_ingress_store_duration_seconds", Help: "Time until the queue has acknowledged a message, or refused it.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2, 4},
	})
	replies := with.NewCounterVec(prometheus.CounterOpts{
		Name: "moltbot_ingress_replies_total",
		Help: "Replies from workers: taken by a request that waited, or gone because none did.",
	}, []string{"outcome"})
	m.taken, m.gone = replies.WithLabelValues("taken"), replies.WithLabelValues("gone")
	m.batches = with.NewHistogram(prometheus.HistogramOpts{
		Name: "moltbot_ingress_batch_messages", Help: "Messages stored together by group commit.",
		Buckets: prometheus.ExponentialBuckets(1, 2, 9), // to maxBatch
	})
	m.unbudgeted = with.NewCounter(prometheus.CounterOpts{
		Name: "moltbot_ingress_budget_unknown_total", Help: "Messages of callers with a budget that were let through because Redis did not say what is left.",
	})
	m.split = with.NewCounter(prometheus.CounterOpts{
		Name: "moltbot_ingress_batches_split_total", Help: "Batches that were not stored, so that their messages were stored one by one.",
	})
	with.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "moltbot_ingress_requests_waiting", Help: "Requests that wait for an answer.",
	}, func() float64 { return float64(waiting()) })
	m.requests = with.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "moltbot_http_request_duration_seconds",
		Help:    "Duration of HTTP requests, by route and status class. It includes the waiting for the answer.",
		Buckets: []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 40, 60},
	}, []string{"route", "status"})
	m.other = m.route(otherRoute)
	m.streamMetrics = newStreamMetrics(with)
	m.webhookMetrics = newWebhookMetrics(with)
	return m
}

func (m *metrics) route(name string) *[classes]prometheus.Observer {
	var out [classes]prometheus.Observer
	for i := range out {
		out[i] = m.requests.WithLabelValues(name, string(rune('1'+i))+"xx")
	}
	return &out
}

// know resolves the labels of every route of e.
func (m *metrics) know(e *echo.Echo) {
	for _, r := range e.Routes() {
		m.routes[routeKey{r.Method, r.Path}] = m.route(r.Method + " " + r.Path)
	}
}

// measured times each request. It comes first, so that it sees the final status.
func (in *Ingress) measured(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		began := time.Now()
		err := next(c)
		in.metrics.served(c, time.Since(began))
		return err
	}
}

func (m *metrics) served(c echo.Context, took time.Duration) {
	route := m.routes[routeKey{c.Request().Method, c.Path()}]
	if route == nil {
		route = m.other
	}
	class := c.Response().Status/100 - 1
	if class < 0 || class >= classes {
		class = http.StatusInternalServerError/100 - 1
	}
	route[class].Observe(took.Seconds())
}

func (m *metrics) accepted(known bool) {
	if known {
		m.repeated.Inc()
		return
	}
	m.fresh.Inc()
}

// refused counts an answer of the public API; the admin API's are no one's concern.
func (in *Ingress) refused(c echo.Context, code contracts.Code) {
	if n, ok := in.metrics.problems[code]; ok && c.Echo() == in.echo {
		n.Inc()
	}
}

func (m *metrics) replied(taken bool) {
	if taken {
		m.taken.Inc()
		return
	}
	m.gone.Inc()
}

// batched counts one batch of group commit.
func (m *metrics) batched(messages int, split bool) {
	m.batches.Observe(float64(messages))
	if split {
		m.split.Inc()
	}
}
