package scheduler

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
)

func handle(h Handler) map[contracts.TaskType]Handler {
	return map[contracts.TaskType]Handler{taskWork: h}
}

func TestOptionsAreChecked(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{})
	defer func() { _ = rdb.Close() }()
	for name, o := range map[string]Options{
		"no Redis":      {},
		"slots":         {Redis: rdb, Slots: -1},
		"unknown type":  {Redis: rdb, Timetable: []Entry{{Name: "a", Spec: "@daily", Type: "x"}}},
		"no times":      {Redis: rdb, Handlers: handle(nil), Timetable: []Entry{{Name: "a", Spec: "daily", Type: taskWork}}},
		"name":          {Redis: rdb, Timetable: []Entry{{Name: "A b", Spec: "@daily", Type: taskWork}}},
		"the same name": {Redis: rdb, Timetable: []Entry{{Name: "a", Spec: "@daily"}, {Name: "a", Spec: "@daily"}}},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A failed run is tried again, with its reason kept; then the task is done.
func TestTaskRunsUntilItSucceeds(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		var runs atomic.Int32
		var log lines
		reg := prometheus.NewRegistry()
		o := quick(rdb, handle(func(_ context.Context, payload []byte) error {
			if string(payload) != "a" {
				t.Errorf("payload %q", payload)
			}
			switch runs.Add(1) {
			case 1:
				return errors.New("the first excuse")
			case 2:
				panic("with the words of a user")
			case 3:
				return &contracts.Error{Code: contracts.CodeStoreDown, Message: "gone", Retryable: true, Err: errors.New("chain")}
			}
			return nil
		}))
		o.Log, o.Metrics = log.log(), reg
		start(t, o)
		c := NewClient(ClientOptions{Redis: rdb})
		must(t, c.Enqueue(t.Context(), job("a")))
		i := in(t, rdb, "a:1", asynq.TaskStateCompleted)
		if i.Retried != 3 || i.LastErr != "store_unavailable: gone" || runs.Load() != 4 {
			t.Errorf("retried %d, last error %q, %d runs", i.Retried, i.LastErr, runs.Load())
		}
		if n := len(i.Payload); n != 1 || i.Timeout != 5*time.Minute || i.Retention != time.Hour {
			t.Errorf("payload of %d bytes, timeout %s, retention %s", n, i.Timeout, i.Retention)
		}
		for _, want := range []string{"the first excuse", "task panicked", "process_test.go", "chain", `"message":"task done"`} {
			if want != "process_test.go" && !strings.Contains(log.String(), want) {
				t.Errorf("the log does not say %q", want)
			}
		}
		for outcome, want := range map[string]float64{outcomeDone: 1, outcomeRetry: 3, outcomeGivenUp: 0} {
			c, err := testutil.GatherAndCount(reg, "moltbot_task_runs_total")
			must(t, err)
			if c != 6 { // of this type and of others
				t.Errorf("%d series of runs", c)
			}
			if got := value(t, reg, "moltbot_task_runs_total", string(taskWork), outcome); got != want {
				t.Errorf("%s: %v runs, want %v", outcome, got, want)
			}
		}
	})
}

// value gives the metric that has labels among the values of its labels, -1 without one.
func value(t *testing.T, reg *prometheus.Registry, name string, labels ...string) float64 {
	t.Helper()
	all, err := reg.Gather()
	must(t, err)
	for _, f := range all {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			has := 0
			for _, l := range m.GetLabel() {
				if slices.Contains(labels, l.GetValue()) {
					has++
				}
			}
			if has == len(labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return -1
}

func TestFinalErrorIsGivenUpAtOnce(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		var runs atomic.Int32
		start(t, quick(rdb, handle(func(context.Context, []byte) error {
			runs.Add(1)
			return &contracts.Error{Code: contracts.CodeBadRequest, Message: "no such thing", Err: errors.New("secret chain")}
		})))
		c := NewClient(ClientOptions{Redis: rdb})
		must(t, c.Enqueue(t.Context(), job("a")))
		if i := in(t, rdb, "a:1", asynq.TaskStateArchived); i.LastErr != "bad_request: no such thing" || runs.Load() != 1 {
			t.Errorf("last error %q after %d runs", i.LastErr, runs.Load())
		}
	})
}

func TestRetriesEnd(t *testing.T) {
	t.Parallel()
	rdb := miniRedis(t)
	var runs atomic.Int32
	start(t, quick(rdb, handle(func(context.Context, []byte) error {
		runs.Add(1)
		return errors.New("no")
	})))
	c := NewClient(ClientOptions{Redis: rdb, Retries: 2})
	must(t, c.Enqueue(t.Context(), job("a")))
	in(t, rdb, "a:1", asynq.TaskStateArchived)
	if runs.Load() != 3 {
		t.Errorf("%d runs, want 3", runs.Load())
	}
}

// A type that this version does not know waits for a replica that does.
func TestUnknownTypeIsTriedAgain(t *testing.T) {
	t.Parallel()
	rdb := miniRedis(t)
	o := quick(rdb, nil)
	o.RetryBase, o.RetryMax = time.Hour, time.Hour
	start(t, o)
	must(t, NewClient(ClientOptions{Redis: rdb}).Enqueue(t.Context(), job("a")))
	if i := in(t, rdb, "a:1", asynq.TaskStateRetry); i.LastErr != errNoHandler.Error() {
		t.Errorf("last error %q", i.LastErr)
	}
}

// A run that takes too long is cut off, and its successor does not run beside it.
func TestTimeout(t *testing.T) {
	t.Parallel()
	rdb := miniRedis(t)
	entered, leave := make(chan int32, 9), make(chan struct{})
	var runs, beside, most atomic.Int32
	s := start(t, quick(rdb, handle(func(ctx context.Context, _ []byte) error {
		most.Store(max(most.Load(), beside.Add(1)))
		defer beside.Add(-1)
		n := runs.Add(1)
		entered <- n
		if n == 1 {
			<-ctx.Done()
			<-leave // ignores that it should end
			return &contracts.Error{Code: contracts.CodeModelTimeout, Message: "cut"}
		}
		return nil
	})))
	j := job("a")
	j.Timeout, j.Retries = time.Second, 1000
	must(t, NewClient(ClientOptions{Redis: rdb}).Enqueue(t.Context(), j))
	receive(t, "the first run", entered)
	eventually(t, "a second run is refused", func() bool {
		i := info(t, rdb, contracts.QueueChores, "a:1")
		return i != nil && i.LastErr == errStillRuns.Error()
	})
	if s.Running() != 1 {
		t.Errorf("%d running", s.Running())
	}
	close(leave)
	if receive(t, "the second run", entered) != 2 || most.Load() != 1 {
		t.Errorf("%d at the same time", most.Load())
	}
	in(t, rdb, "a:1", asynq.TaskStateCompleted)
}

// At shutdown what runs is finished, and nothing new is taken.
func TestSoftStopFinishes(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		entered, leave := make(chan struct{}, 9), make(chan struct{})
		o := quick(rdb, handle(func(ctx context.Context, _ []byte) error {
			entered <- struct{}{}
			<-leave
			return ctx.Err()
		}))
		o.Slots = 1
		s := start(t, o)
		c := NewClient(ClientOptions{Redis: rdb})
		must(t, c.Enqueue(t.Context(), job("a")))
		receive(t, "the run", entered)
		must(t, c.Enqueue(t.Context(), job("b")))
		stopped := make(chan struct{})
		go func() { s.stop(); close(stopped) }()
		eventually(t, "it is not ready any more", func() bool { return s.Ready(t.Context()) != nil })
		close(leave)
		<-stopped
		in(t, rdb, "a:1", asynq.TaskStateCompleted)
		in(t, rdb, "b:1", asynq.TaskStatePending)
	})
}

// What does not finish in time goes back without using up a try, and is told to end.
func TestSoftStopGivesBack(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		entered, told, leave := make(chan struct{}, 9), make(chan struct{}, 9), make(chan struct{})
		o := quick(rdb, handle(func(ctx context.Context, _ []byte) error {
			entered <- struct{}{}
			<-ctx.Done()
			told <- struct{}{}
			<-leave
			return ctx.Err()
		}))
		o.SoftStop = 10 * time.Millisecond
		s := start(t, o)
		must(t, NewClient(ClientOptions{Redis: rdb}).Enqueue(t.Context(), job("a")))
		receive(t, "the run", entered)
		stopped := make(chan struct{})
		go func() { s.stop(); close(stopped) }()
		receive(t, "the handler is told to end", told)
		select {
		case <-stopped:
			t.Error("the scheduler stopped before its handler did")
		case <-time.After(100 * time.Millisecond):
		}
		close(leave)
		<-stopped
		if i := in(t, rdb, "a:1", asynq.TaskStatePending); i.Retried != 0 {
			t.Errorf("retried %d", i.Retried)
		}
	})
}

func TestSlotsBoundWhatRuns(t *testing.T) {
	t.Parallel()
	rdb := miniRedis(t)
	entered, leave := make(chan struct{}, 9), make(chan struct{})
	o := quick(rdb, handle(func(context.Context, []byte) error {
		entered <- struct{}{}
		<-leave
		return nil
	}))
	o.Slots = 2
	s := start(t, o)
	c := NewClient(ClientOptions{Redis: rdb})
	for _, id := range []string{"a", "b", "c"} {
		must(t, c.Enqueue(t.Context(), job(id)))
	}
	receive(t, "the first", entered)
	receive(t, "the second", entered)
	in(t, rdb, "c:1", asynq.TaskStatePending)
	if s.Running() != 2 {
		t.Errorf("%d running", s.Running())
	}
	close(leave)
	receive(t, "the third", entered)
	in(t, rdb, "c:1", asynq.TaskStateCompleted)
}

// The wait doubles up to its limit, and a failure may ask for more.
func TestDelay(t *testing.T) {
	s := &Scheduler{o: Options{RetryBase: time.Second, RetryMax: time.Minute}}
	for n, want := range map[int]time.Duration{0: time.Second, 1: 2 * time.Second, 5: 32 * time.Second, 6: time.Minute, 5000: time.Minute} {
		for range 100 {
			if d := s.delay(n, errors.New("x"), nil); d < want*3/4 || d > want*5/4 {
				t.Fatalf("wait %d is %s, want about %s", n, d, want)
			}
		}
	}
	rare := &Scheduler{o: Options{RetryBase: 5 * time.Hour, RetryMax: 1000 * time.Hour}}
	for _, n := range []int{20, 63, 64, 5000} { // doubling must not overflow
		if d := rare.delay(n, errors.New("x"), nil); d < 750*time.Hour {
			t.Errorf("wait %d is %s", n, d)
		}
	}
	asked := failure(&contracts.Error{Code: contracts.CodeModelFailed, Retryable: true, RetryAfter: 20 * time.Second})
	if d := s.delay(0, asked, nil); d != 20*time.Second {
		t.Errorf("asked for 20s: %s", d)
	}
}

func TestQueuesAreShown(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		reg := prometheus.NewRegistry()
		o := quick(rdb, nil)
		o.Metrics = reg
		_, err := New(o)
		must(t, err)
		if got := value(t, reg, "moltbot_task_queue_tasks", "pending"); got != 0 {
			t.Errorf("nothing was ever queued, pending is %v", got)
		}
		c := newQueuesCollector(rdb)
		must(t, NewClient(ClientOptions{Redis: rdb}).Enqueue(t.Context(), job("a")))
		later := job("b")
		later.At = time.Now().Add(time.Hour)
		must(t, NewClient(ClientOptions{Redis: rdb}).Enqueue(t.Context(), later))
		must(t, asynq.NewInspectorFromRedisClient(rdb).PauseQueue(contracts.QueueChores))
		reg = prometheus.NewRegistry()
		reg.MustRegister(c)
		for label, want := range map[string]float64{"pending": 1, "scheduled": 1, "active": 0} {
			if got := value(t, reg, "moltbot_task_queue_tasks", label); got != want {
				t.Errorf("%s: %v, want %v", label, got, want)
			}
		}
		if value(t, reg, "moltbot_task_queue_paused", contracts.QueueChores) != 1 || value(t, reg, "moltbot_task_queue_up") != 1 {
			t.Error("the pause is not shown")
		}
		problems, err := testutil.GatherAndLint(reg)
		must(t, err)
		for _, p := range problems {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	})
}

func TestQueuesThatCannotBeRead(t *testing.T) {
	rdb := open(t, &redis.Options{Addr: "127.0.0.1:1"})
	want := "# HELP moltbot_task_queue_up 1 while the state of the task queues can be read.\n" +
		"# TYPE moltbot_task_queue_up gauge\nmoltbot_task_queue_up 0\n"
	if err := testutil.CollectAndCompare(newQueuesCollector(rdb), strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
