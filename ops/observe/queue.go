package observe

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// QueueState is one look at the queue.
type QueueState struct {
	Pending    uint64    // stored and not delivered yet
	InProgress int       // delivered and not acknowledged yet
	Oldest     time.Time // when the oldest message that is not finished was stored; zero: there is none

	Messages, Bytes       uint64 // in the stream, finished ones included
	MaxMessages, MaxBytes int64  // its limits
	Dead                  uint64 // dead letters kept
	DeadOldest            time.Time
	DeadRoles             map[string]uint64 // by who gave them up; few names

	Sending       uint64    // answers on their way out
	SendingOldest time.Time // when the oldest of them was stored; zero: there is none
}

// Times of a look.
const (
	queueTimeout = time.Second     // a scrape waits no longer
	queueFresh   = 2 * time.Second // scrapes within this share one look
)

// QueueCollector shows the queue. It looks when it is scraped, in bounded time;
// while the queue does not answer, only moltbot_queue_up is there.
type QueueCollector struct {
	look func(context.Context) (QueueState, error)
	now  func() time.Time
	up   *prometheus.Desc
	dead *prometheus.Desc
	all  []queueGauge

	mu   sync.Mutex
	last QueueState
	err  error
	at   time.Time
}

type queueGauge struct {
	desc  *prometheus.Desc
	value func(QueueState) float64
}

// NewQueueCollector gives a collector over look.
func NewQueueCollector(look func(context.Context) (QueueState, error), now func() time.Time) *QueueCollector {
	c := &QueueCollector{look: look, now: now}
	c.up = prometheus.NewDesc("moltbot_queue_up", "1 while the queue's state can be read.", nil, nil)
	add := func(name, help string, value func(QueueState) float64) {
		c.all = append(c.all, queueGauge{prometheus.NewDesc(name, help, nil, nil), value})
	}
	add("moltbot_queue_pending", "Messages stored and not delivered to a worker yet.",
		func(s QueueState) float64 { return float64(s.Pending) })
	add("moltbot_queue_in_progress", "Messages delivered to a worker and not finished yet.",
		func(s QueueState) float64 { return float64(s.InProgress) })
	add("moltbot_queue_lag", "Unfinished messages: pending and in progress together. For autoscalers.",
		func(s QueueState) float64 { return float64(s.Pending) + float64(s.InProgress) })
	add("moltbot_queue_oldest_age_seconds", "Age of the oldest unfinished message; 0 when there is none.",
		func(s QueueState) float64 { return c.age(s.Oldest) })
	add("moltbot_queue_stream_messages", "Messages in the stream, finished ones that wait for the purge included.",
		func(s QueueState) float64 { return float64(s.Messages) })
	add("moltbot_queue_stream_messages_limit", "Messages the stream takes at most.",
		func(s QueueState) float64 { return float64(s.MaxMessages) })
	add("moltbot_queue_stream_bytes", "Size of the stream.",
		func(s QueueState) float64 { return float64(s.Bytes) })
	add("moltbot_queue_stream_limit_bytes", "Size the stream may have at most.",
		func(s QueueState) float64 { return float64(s.MaxBytes) })
	add("moltbot_queue_dead_letters", "Dead letters kept.",
		func(s QueueState) float64 { return float64(s.Dead) })
	add("moltbot_queue_dead_letters_oldest_age_seconds", "Age of the oldest dead letter; 0 when there is none.",
		func(s QueueState) float64 { return c.age(s.DeadOldest) })
	c.dead = prometheus.NewDesc("moltbot_queue_dead_letters_by_role", "Dead letters kept, by who gave them up.", []string{"role"}, nil)
	add("moltbot_queue_sending", "Answers on their way to IM platforms and callback URLs.",
		func(s QueueState) float64 { return float64(s.Sending) })
	add("moltbot_queue_sending_oldest_age_seconds", "Age of the oldest answer on its way out; 0 when there is none.",
		func(s QueueState) float64 { return c.age(s.SendingOldest) })
	return c
}

func (c *QueueCollector) age(of time.Time) float64 {
	if of.IsZero() {
		return 0
	}
	return max(0, c.now().Sub(of).Seconds()) // the broker may have another clock
}

// Describe implements prometheus.Collector.
func (c *QueueCollector) Describe(to chan<- *prometheus.Desc) {
	to <- c.up
	to <- c.dead
	for _, g := range c.all {
		to <- g.desc
	}
}

// Collect implements prometheus.Collector.
func (c *QueueCollector) Collect(to chan<- prometheus.Metric) {
	s, err := c.state()
	up := 1.0
	if err != nil {
		up = 0
	}
	to <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, up)
	if err != nil {
		return
	}
	for _, g := range c.all {
		to <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, g.value(s))
	}
	for role, n := range s.DeadRoles {
		to <- prometheus.MustNewConstMetric(c.dead, prometheus.GaugeValue, float64(n), role)
	}
}

func (c *QueueCollector) state() (QueueState, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.at.IsZero() && c.now().Sub(c.at) < queueFresh {
		return c.last, c.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), queueTimeout)
	defer cancel()
	c.last, c.err = c.look(ctx)
	c.at = c.now()
	return c.last, c.err
}
