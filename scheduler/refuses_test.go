package scheduler

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/hibiken/asynq"

	"moltbot/contracts"
)

// Redis answers and takes no writes, while a task runs: none is added, and who
// asks is told so; none begins; what runs finishes once, and says so when it can.
// No task is left behind as one that runs.
func TestStoreThatTakesNoWrites(t *testing.T) {
	for name, fault := range map[string][2][]any{
		"out of memory": {{"config", "set", "maxmemory", "1"}, {"config", "set", "maxmemory", "0"}},
		"READONLY":      {{"replicaof", "127.0.0.1", "1"}, {"replicaof", "no", "one"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits more than it works
			ctx := t.Context()
			rdb := startRedis(t).client(t)
			entered, leave := make(chan string, 9), make(chan struct{})
			var runs atomic.Int32
			s := start(t, quick(rdb, handle(func(_ context.Context, payload []byte) error {
				runs.Add(1)
				entered <- string(payload)
				if string(payload) == "a" {
					<-leave
				}
				return nil
			})))
			c := NewClient(ClientOptions{Redis: rdb})
			must(t, c.Enqueue(ctx, job("a")))
			receive(t, "the run", entered)
			must(t, rdb.Do(ctx, fault[0]...).Err())
			var e *contracts.Error
			if err := c.Enqueue(ctx, job("b")); !errors.As(err, &e) || e.Code != contracts.CodeStoreDown || !e.Retryable {
				t.Errorf("asked for a task: %v", err)
			}
			if err := s.Ready(ctx); !errors.As(err, &e) || e.Code != contracts.CodeStoreDown {
				t.Errorf("ready: %v", err)
			}
			close(leave)
			eventually(t, "the run ended", func() bool { return s.Running() == 0 })
			must(t, rdb.Do(ctx, fault[1]...).Err())
			must(t, c.Enqueue(ctx, job("b")))
			receive(t, "the second task", entered)
			in(t, rdb, "b:1", asynq.TaskStateCompleted)
			in(t, rdb, "a:1", asynq.TaskStateCompleted)
			if n := runs.Load(); n != 2 {
				t.Errorf("%d runs of two tasks", n)
			}
			left, err := asynq.NewInspectorFromRedisClient(rdb).ListActiveTasks(contracts.QueueChores)
			if err != nil || len(left) != 0 {
				t.Errorf("left as running: %v, %v", left, err)
			}
			must(t, s.Ready(ctx))
		})
	}
}
