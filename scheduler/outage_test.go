package scheduler

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
)

// A store that comes back empty under a scheduler that works, and under those who
// ask it, takes the tasks with it and nothing else: what is asked for afterwards is
// done, and operators are shown it.
func TestStoreComesBackEmpty(t *testing.T) {
	t.Parallel()
	redisServer := startRedis(t)
	rdb := redisServer.client(t)
	entered, leave := make(chan struct{}, 9), make(chan struct{})
	o := quick(rdb, handle(func(_ context.Context, payload []byte) error {
		if string(payload) == "long" {
			entered <- struct{}{}
			<-leave
		}
		return nil
	}))
	o.Repair = 20 * time.Millisecond
	s := start(t, o)
	c := NewClient(ClientOptions{Redis: rdb})
	must(t, c.Enqueue(t.Context(), job("long")))
	receive(t, "the run", entered)

	redisServer.kill()
	redisServer.start(t) // it kept nothing
	close(leave)         // its run ends, and the store does not know it
	eventually(t, "the client asks again", func() bool { return c.Enqueue(t.Context(), job("short")) == nil })
	queues := asynq.NewInspectorFromRedisClient(rdb)
	eventually(t, "the queue is shown", func() bool {
		known, err := queues.Queues()
		return err == nil && slices.Contains(known, contracts.QueueChores) && slices.Contains(known, contracts.QueueNightly)
	})
	in(t, rdb, "short:1", asynq.TaskStateCompleted)
	began := time.Now()
	s.stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s to stop", took)
	}
}

// The end of a process does not wait for a store that is gone.
func TestStopWithoutStore(t *testing.T) {
	t.Parallel()
	redisServer := startRedis(t)
	entered := make(chan struct{}, 9)
	o := quick(redisServer.client(t), handle(func(ctx context.Context, _ []byte) error {
		entered <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}))
	o.SoftStop = 50 * time.Millisecond
	s := start(t, o)
	must(t, NewClient(ClientOptions{Redis: o.Redis}).Enqueue(t.Context(), job("a")))
	receive(t, "the run", entered)
	redisServer.kill()
	began := time.Now()
	s.stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s to stop", took)
	}
}

// The queue cannot keep a text that is no UTF-8: the task would stay where it is
// until its lease runs out.
func TestReasonsThatAreNoText(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		long := strings.Repeat("错", mostReason)
		for id, err := range map[string]error{
			"cut":   errors.New("x" + long),
			"bytes": errors.New("\xff\xfe"),
			"known": &contracts.Error{Code: contracts.CodeStoreDown, Message: "\xff" + long, Retryable: true},
		} {
			o := quick(rdb, handle(func(context.Context, []byte) error { return err }))
			o.RetryBase, o.RetryMax = time.Hour, time.Hour
			s := start(t, o)
			must(t, NewClient(ClientOptions{Redis: rdb}).Enqueue(t.Context(), job(id)))
			if i := in(t, rdb, id+":1", asynq.TaskStateRetry); i.LastErr == "" || len(i.LastErr) > mostReason {
				t.Errorf("%s: last error %q", id, i.LastErr)
			}
			s.stop()
		}
	})
}

// Replicas that stop one after the other while there is plenty to do lose nothing,
// and none of what they gave back has used up a try.
func TestStoppedUnderLoad(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		const tasks = 200
		var mu sync.Mutex
		done := map[string]bool{}
		o := quick(rdb, handle(func(ctx context.Context, payload []byte) error {
			wait := time.NewTimer(2 * time.Millisecond)
			defer wait.Stop()
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-wait.C:
			}
			mu.Lock()
			defer mu.Unlock()
			done[string(payload)] = true
			return nil
		}))
		o.SoftStop = time.Millisecond
		c := NewClient(ClientOptions{Redis: rdb})
		for i := range tasks {
			must(t, c.Enqueue(t.Context(), job(strconv.Itoa(i))))
		}
		ran := func() int { mu.Lock(); defer mu.Unlock(); return len(done) }
		for want := 20; want < tasks/2; want += 20 {
			s := start(t, o)
			eventually(t, "it is at work", func() bool { return ran() >= want })
			s.stop()
		}
		start(t, o)
		eventually(t, "all are done", func() bool { return ran() == tasks })
		for i := range tasks {
			if task := in(t, rdb, strconv.Itoa(i)+":1", asynq.TaskStateCompleted); task.Retried != 0 {
				t.Errorf("%s: retried %d", task.ID, task.Retried)
			}
		}
	})
}
