package scheduler

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"moltbot/contracts"
)

// childSocket makes the test program a scheduler that is going to be killed.
const childSocket = "MOLTBOT_TEST_SCHEDULER_REDIS"

// runChild says when it runs a task, and never finishes it.
func runChild() {
	rdb := redis.NewClient(&redis.Options{Network: "unix", Addr: os.Getenv(childSocket)})
	s, err := New(quick(rdb, handle(func(context.Context, []byte) error {
		fmt.Println("entered")
		select {}
	})))
	if err == nil {
		err = s.Run(context.Background())
	}
	fmt.Println(err)
}

// child starts it and waits until it runs a task.
func child(t *testing.T, socket string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.Command(self, "-test.run=^$")
	cmd.Env = append(os.Environ(), childSocket+"="+socket)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "entered\n" {
		_ = cmd.Process.Kill()
		t.Fatalf("the child says %q, %v", line, err)
	}
	return cmd
}

func mender(rdb redis.UniversalClient, lease time.Duration) *repairer {
	return &repairer{rdb: rdb, every: time.Hour, lease: lease, now: time.Now, log: zerolog.Nop()}
}

// A scheduler is killed in the middle of a task whose lease is then lost, too.
// Nobody finds the task until it has a lease again; then it is run once.
func TestKilledWithoutLease(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	rdb := server.client(t)
	ctx := t.Context()
	must(t, NewClient(ClientOptions{Redis: rdb}).Enqueue(ctx, job("a")))
	killed := child(t, server.socket())
	must(t, killed.Process.Kill())
	_ = killed.Wait()
	must(t, rdb.Del(ctx, keyLease(contracts.QueueChores)).Err())

	// The library's own way to find it does not.
	active, err := asynq.NewInspectorFromRedisClient(rdb).ListActiveTasks(contracts.QueueChores)
	must(t, err)
	if len(active) != 1 || active[0].IsOrphaned {
		t.Fatalf("active %v", active)
	}
	var runs atomic.Int32
	h := handle(func(context.Context, []byte) error { runs.Add(1); return nil })
	// With a lease that ran out long ago, the recoverer takes it at its first look.
	mender(rdb, -time.Hour).look(ctx, contracts.QueueChores)
	start(t, quick(rdb, h))
	if i := in(t, rdb, "a:1", asynq.TaskStateCompleted); i.Retried != 1 || runs.Load() != 1 {
		t.Errorf("retried %d, %d runs", i.Retried, runs.Load())
	}
}

// Also a killed one whose lease is there comes again, when that has run out.
func TestKilled(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	rdb := server.client(t)
	ctx := t.Context()
	must(t, NewClient(ClientOptions{Redis: rdb}).Enqueue(ctx, job("a")))
	killed := child(t, server.socket())
	must(t, killed.Process.Kill())
	_ = killed.Wait()
	mender(rdb, -time.Hour).look(ctx, contracts.QueueChores) // leaves a lease alone that is there
	left, err := rdb.ZScore(ctx, keyLease(contracts.QueueChores), "a:1").Result()
	must(t, err)
	if until := time.Unix(int64(left), 0); time.Until(until) < 0 {
		t.Fatalf("the lease ended at %s", until)
	}
	must(t, rdb.ZAdd(ctx, keyLease(contracts.QueueChores), redis.Z{Score: 1, Member: "a:1"}).Err()) // time passes
	var runs atomic.Int32
	start(t, quick(rdb, handle(func(context.Context, []byte) error { runs.Add(1); return nil })))
	in(t, rdb, "a:1", asynq.TaskStateCompleted)
	if runs.Load() != 1 {
		t.Errorf("%d runs", runs.Load())
	}
}

// A task that still runs gets its lease back, and so can finish: without one its
// server could not say that it is done.
func TestRunningTaskGetsItsLeaseBack(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx := t.Context()
		entered, leave := make(chan struct{}, 9), make(chan struct{})
		var runs atomic.Int32
		s := start(t, quick(rdb, handle(func(context.Context, []byte) error {
			runs.Add(1)
			entered <- struct{}{}
			<-leave
			return nil
		})))
		must(t, NewClient(ClientOptions{Redis: rdb}).Enqueue(ctx, job("a")))
		receive(t, "the run", entered)
		must(t, rdb.Del(ctx, keyLease(contracts.QueueChores)).Err())
		ids, err := leaseAnew(ctx, rdb, contracts.QueueChores, time.Now().Add(leaseTime))
		must(t, err)
		if !slices.Equal(ids, []string{"a:1"}) {
			t.Errorf("mended %v", ids)
		}
		if ids, err = leaseAnew(ctx, rdb, contracts.QueueChores, time.Now()); err != nil || len(ids) != 0 {
			t.Errorf("mended %v again, %v", ids, err)
		}
		// To ask for it does the same, and leaves it in its place once.
		must(t, rdb.Del(ctx, keyLease(contracts.QueueChores)).Err())
		must(t, NewClient(ClientOptions{Redis: rdb}).Enqueue(ctx, job("a")))
		if n := rdb.LLen(ctx, keyActive(contracts.QueueChores)).Val(); n != 1 {
			t.Errorf("it is in the list %d times", n)
		}
		close(leave)
		in(t, rdb, "a:1", asynq.TaskStateCompleted)
		s.stop()
		if runs.Load() != 1 {
			t.Errorf("%d runs", runs.Load())
		}
	})
}

// The role looks by itself.
func TestRoleMends(t *testing.T) {
	t.Parallel()
	rdb := miniRedis(t)
	entered, leave := make(chan struct{}, 9), make(chan struct{})
	var log lines
	o := quick(rdb, handle(func(context.Context, []byte) error {
		entered <- struct{}{}
		<-leave
		return nil
	}))
	o.Repair, o.Log = 10*time.Millisecond, log.log()
	start(t, o)
	must(t, NewClient(ClientOptions{Redis: rdb}).Enqueue(t.Context(), job("a")))
	receive(t, "the run", entered)
	must(t, rdb.Del(t.Context(), keyLease(contracts.QueueChores)).Err())
	eventually(t, "it has a lease again", func() bool {
		return rdb.ZScore(t.Context(), keyLease(contracts.QueueChores), "a:1").Val() > 0
	})
	close(leave)
	in(t, rdb, "a:1", asynq.TaskStateCompleted)
	eventually(t, "it is logged", func() bool { return strings.Contains(log.String(), "had no lease") })
}

// A run that ended while its lease was gone could not say so: its task is in no
// list, and its name blocks all later ones. Whoever asks for it again finds that.
func TestStrandedTaskIsRunAgain(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx := t.Context()
		c := NewClient(ClientOptions{Redis: rdb})
		entered, leave := make(chan struct{}, 9), make(chan struct{}, 9)
		h := handle(func(context.Context, []byte) error {
			entered <- struct{}{}
			<-leave
			return nil
		})
		s := start(t, quick(rdb, h))
		must(t, c.Enqueue(ctx, job("a")))
		receive(t, "the run", entered)
		must(t, rdb.Del(ctx, keyLease(contracts.QueueChores)).Err())
		leave <- struct{}{}
		eventually(t, "it left the list", func() bool { return rdb.LLen(ctx, keyActive(contracts.QueueChores)).Val() == 0 })
		s.stop()
		if state := rdb.HGet(ctx, keyTask(contracts.QueueChores, "a:1"), "state").Val(); state != "active" {
			t.Fatalf("state %q: the library has mended this, and so the repair can go", state)
		}
		c.now = func() time.Time { return time.Now().Add(-time.Hour) } // the lease that it gets has run out
		must(t, c.Enqueue(ctx, job("a")))
		if n := rdb.LLen(ctx, keyActive(contracts.QueueChores)).Val(); n != 1 {
			t.Errorf("%d in the list", n)
		}
		must(t, c.Enqueue(ctx, job("a")))
		if n := rdb.LLen(ctx, keyActive(contracts.QueueChores)).Val(); n != 1 {
			t.Errorf("%d in the list after asking twice", n)
		}
		start(t, quick(rdb, h))
		receive(t, "it runs again", entered)
		leave <- struct{}{}
		in(t, rdb, "a:1", asynq.TaskStateCompleted)
	})
}

// After Redis was emptied, operators see the queues again, and what runs in them.
func TestQueuesAreSeenAfterAnEmptiedRedis(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx := t.Context()
		o := quick(rdb, handle(func(context.Context, []byte) error { return nil }))
		o.Repair = 10 * time.Millisecond
		start(t, o)
		c := NewClient(ClientOptions{Redis: rdb})
		must(t, c.Enqueue(ctx, job("a")))
		in(t, rdb, "a:1", asynq.TaskStateCompleted)
		must(t, rdb.FlushAll(ctx).Err())
		must(t, c.Enqueue(ctx, job("b")))
		in(t, rdb, "b:1", asynq.TaskStateCompleted)
		eventually(t, "the queue is listed", func() bool {
			names, err := asynq.NewInspectorFromRedisClient(rdb).Queues()
			return err == nil && slices.Contains(names, contracts.QueueChores)
		})
	})
}
