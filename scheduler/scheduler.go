// Package scheduler does what no user waits for: it runs the background tasks of
// the queues, puts those of the timetable into them once for each due time, and
// gives other roles a client to ask for some. It answers no message and knows
// nothing of what its handlers do.
package scheduler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"moltbot/contracts"
)

// Handler does one task. It must bear to run twice for the same payload, since a
// task is run at least once, and it must end soon after ctx does. An error is
// tried again after a back-off, unless it is a contracts.Error that is not
// Retryable.
type Handler func(ctx context.Context, payload []byte) error

// Options of the scheduler. What has no default is required.
type Options struct {
	// Redis is not closed by the role. Give it a pool of its own, and
	// ContextTimeoutEnabled: what is full of others' commands loses leases.
	Redis    redis.UniversalClient
	Handlers map[contracts.TaskType]Handler
	Log      zerolog.Logger

	Slots    int           // tasks at a time in this process; default 4
	SoftStop time.Duration // time to finish what runs at shutdown; default 25s
	// Timetable is what is due at which times; Location is where its clock hangs.
	Timetable []Entry
	Location  *time.Location // default UTC
	LookBack  time.Duration  // a due time missed for longer is not made up for; default 24h
	Client    *Client        // puts tasks of the timetable into their queue; default one with its defaults

	RetryBase time.Duration // wait before the second run; default 5s
	RetryMax  time.Duration // longest wait between two runs; default 10m

	Poll    time.Duration // how often an empty queue is looked at; default 500ms
	Forward time.Duration // how often tasks that wait for their time are looked at; default 5s
	Repair  time.Duration // how often running tasks without a lease are looked for; default 1m
	Clock   Clock         // of the timetable; default the real one
	// Crash, in tests, is called at the named points: "task_begun", before the
	// handler, and "task_ran", after it succeeded and before the queue knows.
	Crash func(point string)

	// Metrics takes the role's metrics; nil: nobody reads them.
	Metrics prometheus.Registerer
}

// lastWait bounds how long the role waits for handlers that were told to end.
const lastWait = 5 * time.Second

// Scheduler is the role.
type Scheduler struct {
	o         Options
	timetable *timetable
	repair    *repairer
	metrics   *metrics
	live      atomic.Bool

	mu      sync.Mutex
	running map[string]struct{} // by id
	ended   sync.WaitGroup
}

// New checks o and wires the role. It opens nothing.
func New(o Options) (*Scheduler, error) {
	if o.Redis == nil {
		return nil, errors.New("scheduler options: Redis is required")
	}
	if o.Slots < 0 || o.SoftStop < 0 || o.LookBack < 0 {
		return nil, errors.New("scheduler options: Slots, SoftStop and LookBack must not be negative")
	}
	setDefaults(&o)
	if o.Client == nil {
		o.Client = NewClient(ClientOptions{Redis: o.Redis})
	}
	t, err := newTimetable(o)
	if err != nil {
		return nil, fmt.Errorf("scheduler options: %w", err)
	}
	if o.Metrics != nil {
		if err := o.Metrics.Register(newQueuesCollector(o.Redis)); err != nil {
			return nil, fmt.Errorf("metrics of the queues: %w", err)
		}
	}
	return &Scheduler{
		o: o, timetable: t, metrics: newMetrics(o.Metrics, o.Handlers),
		repair:  &repairer{rdb: o.Redis, every: o.Repair, log: o.Log, lease: leaseTime, now: time.Now},
		running: make(map[string]struct{}),
	}, nil
}

func setDefaults(o *Options) {
	def := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	if o.Slots == 0 {
		o.Slots = 4
	}
	if o.Location == nil {
		o.Location = time.UTC
	}
	if o.Crash == nil {
		o.Crash = func(string) {}
	}
	if o.Clock.Now == nil {
		o.Clock = realClock()
	}
	def(&o.SoftStop, 25*time.Second)
	def(&o.LookBack, 24*time.Hour)
	def(&o.RetryBase, 5*time.Second)
	def(&o.RetryMax, 10*time.Minute)
	def(&o.Poll, 500*time.Millisecond)
	def(&o.Forward, 5*time.Second)
	def(&o.Repair, time.Minute)
}

// queues gives each queue's weight: what is due by the timetable does not wait
// behind a crowd of chores, and does not shut them out either.
func queues() map[string]int {
	return map[string]int{contracts.QueueChores: 3, contracts.QueueNightly: 2}
}

// Run works until ctx ends. Then nothing new is taken, what runs gets SoftStop
// to finish, and what still runs goes back to its queue without using up a try.
func (s *Scheduler) Run(ctx context.Context) error {
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	server := asynq.NewServerFromRedisClient(s.o.Redis, s.config(work))
	if err := server.Start(asynq.HandlerFunc(s.process)); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	s.live.Store(true)
	s.o.Log.Info().Int("slots", s.o.Slots).Int("timetable", len(s.timetable.entries)).Msg("scheduler ready")
	var beside sync.WaitGroup
	beside.Go(func() { s.timetable.run(ctx) })
	beside.Go(func() { s.repair.run(ctx) })
	<-ctx.Done()
	s.live.Store(false)
	server.Stop()
	server.Shutdown() // gives back what does not finish in time, and leaves its goroutine behind
	stopWork()
	s.awaitHandlers()
	beside.Wait()
	return nil
}

func (s *Scheduler) config(work context.Context) asynq.Config {
	return asynq.Config{
		Concurrency: s.o.Slots, Queues: queues(), BaseContext: func() context.Context { return work },
		RetryDelayFunc: s.delay, ErrorHandler: asynq.ErrorHandlerFunc(s.failed), ShutdownTimeout: s.o.SoftStop,
		TaskCheckInterval: s.o.Poll, DelayedTaskCheckInterval: s.o.Forward,
		Logger: asynqLog{s.o.Log}, LogLevel: asynq.InfoLevel,
	}
}

// awaitHandlers waits for those that were left behind; they know by their
// context that they are to end.
func (s *Scheduler) awaitHandlers() {
	done := make(chan struct{})
	go func() { s.ended.Wait(); close(done) }()
	patience := time.NewTimer(lastWait)
	defer patience.Stop()
	select {
	case <-done:
	case <-patience.C:
		s.o.Log.Error().Int("tasks", s.Running()).Msg("tasks do not end though they were told to; they are left behind")
	}
}

// Running is how many tasks run here.
func (s *Scheduler) Running() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.running)
}

// Ready is nil while the role takes tasks and its store takes writes, without
// which none begins.
func (s *Scheduler) Ready(ctx context.Context) error {
	if !s.live.Load() {
		return &contracts.Error{Code: contracts.CodeStopping, Message: "takes no tasks", Retryable: true}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := s.o.Redis.Set(ctx, contracts.KeyProbe(), "", time.Minute).Err(); err != nil {
		return storeDown(err)
	}
	return nil
}
