package scheduler

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
)

func pending(t *testing.T, rdb redis.UniversalClient) int {
	t.Helper()
	all, err := asynq.NewInspectorFromRedisClient(rdb).ListPendingTasks(contracts.QueueChores)
	must(t, err)
	return len(all)
}

// Whatever state a task is in, to ask for it again is no error; only one that was
// given up gets a successor.
func TestAskingAgain(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx := t.Context()
		c := NewClient(ClientOptions{Redis: rdb})
		ask := func() { t.Helper(); must(t, c.Summarize(ctx, "conv", "m1")) }
		first, second := contracts.SummarizeID("conv", "m1", 1), contracts.SummarizeID("conv", "m1", 2)
		ask()
		ask() // pending
		entered, leave := make(chan string, 9), make(chan error)
		s := start(t, quick(rdb, map[contracts.TaskType]Handler{contracts.TaskSummarize: func(_ context.Context, payload []byte) error {
			p, err := contracts.DecodeSummarize(payload)
			must(t, err)
			entered <- p.Conversation + "/" + p.Upto
			return <-leave
		}}))
		if got := receive(t, "the run", entered); got != "conv/m1" {
			t.Errorf("payload %s", got)
		}
		ask() // active
		leave <- &contracts.Error{Code: contracts.CodeBadRequest, Message: "no"}
		in(t, rdb, first, asynq.TaskStateArchived)
		ask() // archived: a second one
		receive(t, "the second run", entered)
		leave <- nil
		in(t, rdb, second, asynq.TaskStateCompleted)
		ask() // completed
		s.stop()
		if n := pending(t, rdb); n != 0 {
			t.Errorf("%d tasks too many", n)
		}
		must(t, c.Summarize(ctx, "conv", "m2")) // another one is not the same
		if n := pending(t, rdb); n != 1 {
			t.Errorf("%d tasks, want 1", n)
		}
	})
}

// There is an end to successors.
func TestGivenUpForGood(t *testing.T) {
	t.Parallel()
	rdb := miniRedis(t)
	c := NewClient(ClientOptions{Redis: rdb})
	i := asynq.NewInspectorFromRedisClient(rdb)
	for try := 1; try <= mostTries; try++ {
		must(t, c.Enqueue(t.Context(), job("a")))
		must(t, i.ArchiveTask(contracts.QueueChores, job("a").ID(try)))
	}
	err := c.Enqueue(t.Context(), job("a"))
	if e := contracts.Public(err); err == nil || e.Code != contracts.CodeDead || e.Retryable {
		t.Errorf("error %v", err)
	}
}

func TestLimitsOfATask(t *testing.T) {
	t.Parallel()
	rdb := miniRedis(t)
	c := NewClient(ClientOptions{Redis: rdb})
	large := job("large")
	large.Payload = make([]byte, MaxPayload+1)
	if err := c.Enqueue(t.Context(), large); err == nil || contracts.Public(err).Code != contracts.CodeTooLarge {
		t.Errorf("large payload: %v", err)
	}
	end := time.Now().Add(time.Hour)
	j := job("a")
	j.Retries, j.Timeout, j.Retention, j.Deadline = -1, time.Millisecond, time.Millisecond, end
	must(t, c.Enqueue(t.Context(), j))
	i := info(t, rdb, contracts.QueueChores, "a:1")
	if i.MaxRetry != 1 || i.Timeout != time.Second || i.Retention != time.Second || i.Deadline.Unix() != end.Unix() {
		t.Errorf("%d retries, timeout %s, retention %s, deadline %s", i.MaxRetry, i.Timeout, i.Retention, i.Deadline)
	}
}

// A store that is gone, or that takes connections and says nothing, costs the
// caller no more than its patience.
func TestStoreThatDoesNotAnswer(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = mute.Close() }()
	for name, address := range map[string]string{"gone": "127.0.0.1:1", "mute": mute.Addr().String()} {
		c := NewClient(ClientOptions{Redis: open(t, &redis.Options{Addr: address}), Patience: 100 * time.Millisecond})
		began := time.Now()
		err := c.Summarize(t.Context(), "c", "m")
		var e *contracts.Error
		if !errors.As(err, &e) || e.Code != contracts.CodeStoreDown || !e.Retryable {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("%s: took %s", name, took)
		}
	}
}
