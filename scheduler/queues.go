package scheduler

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
)

// queuesFresh is how long scrapes share one look.
const queuesFresh = 2 * time.Second

// queuesCollector shows the queues. It looks when it is scraped; while Redis does
// not answer, only moltbot_task_queue_up is there.
type queuesCollector struct {
	queues *asynq.Inspector
	now    func() time.Time

	up, tasks, oldest, processed, failed, paused *prometheus.Desc

	mu   sync.Mutex
	last []*asynq.QueueInfo
	err  error
	at   time.Time
}

func newQueuesCollector(rdb redis.UniversalClient) *queuesCollector {
	c := &queuesCollector{queues: asynq.NewInspectorFromRedisClient(rdb), now: time.Now}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("moltbot_task_queue_"+name, help, labels, nil)
	}
	c.up = desc("up", "1 while the state of the task queues can be read.")
	c.tasks = desc("tasks", "Background tasks, by queue and state.", "queue", "state")
	c.oldest = desc("oldest_age_seconds", "Age of the oldest task that could run and does not yet; 0 when there is none.", "queue")
	c.processed = desc("processed_total", "Runs that ended, by all processes.", "queue")
	c.failed = desc("failed_total", "Runs that failed, by all processes.", "queue")
	c.paused = desc("paused", "1 while nothing is taken from the queue.", "queue")
	return c
}

// Describe implements prometheus.Collector.
func (c *queuesCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.up, c.tasks, c.oldest, c.processed, c.failed, c.paused} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *queuesCollector) Collect(to chan<- prometheus.Metric) {
	all, err := c.state()
	if err != nil {
		to <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, 0)
		return
	}
	to <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, 1)
	for _, q := range all {
		for state, n := range map[string]int{
			"pending": q.Pending, "active": q.Active, "scheduled": q.Scheduled, "retry": q.Retry,
			"archived": q.Archived, "completed": q.Completed,
		} {
			to <- prometheus.MustNewConstMetric(c.tasks, prometheus.GaugeValue, float64(n), q.Queue, state)
		}
		paused := 0.0
		if q.Paused {
			paused = 1
		}
		to <- prometheus.MustNewConstMetric(c.oldest, prometheus.GaugeValue, max(0, q.Latency.Seconds()), q.Queue)
		to <- prometheus.MustNewConstMetric(c.processed, prometheus.CounterValue, float64(q.ProcessedTotal), q.Queue)
		to <- prometheus.MustNewConstMetric(c.failed, prometheus.CounterValue, float64(q.FailedTotal), q.Queue)
		to <- prometheus.MustNewConstMetric(c.paused, prometheus.GaugeValue, paused, q.Queue)
	}
}

func (c *queuesCollector) state() ([]*asynq.QueueInfo, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.at.IsZero() && c.now().Sub(c.at) < queuesFresh {
		return c.last, c.err
	}
	c.last, c.err = c.look()
	c.at = c.now()
	return c.last, c.err
}

func (c *queuesCollector) look() ([]*asynq.QueueInfo, error) {
	known, err := c.queues.Queues()
	if err != nil {
		return nil, fmt.Errorf("list queues: %w", err)
	}
	var all []*asynq.QueueInfo
	for _, name := range contracts.TaskQueues() {
		q := &asynq.QueueInfo{Queue: name}
		if slices.Contains(known, name) { // otherwise nothing was ever put into it
			if q, err = c.queues.GetQueueInfo(name); err != nil {
				return nil, fmt.Errorf("look at queue %s: %w", name, err)
			}
		}
		all = append(all, q)
	}
	return all, nil
}
