package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/scheduler"
)

// tasks gives what "moltbot task list" knows.
func (y *system) tasks(args ...string) contracts.AdminTasks {
	y.t.Helper()
	var l contracts.AdminTasks
	if err := json.Unmarshal([]byte(y.run(append([]string{"task", "list", "--json"}, args...)...)), &l); err != nil {
		y.t.Fatal(err)
	}
	return l
}

// schedulers starts n processes of the role.
func (y *system) schedulers(n int, env ...string) (all []*process) {
	for i := range n {
		p := newProcess(y.t, y.dir, fmt.Sprintf("scheduler%d-%d", len(y.extra), i), y.bin, "--config", y.config, "serve", "scheduler")
		p.env = env
		p.start()
		all = append(all, p)
	}
	y.extra = append(y.extra, all...)
	return all
}

// A scheduler is killed in the middle of a task. Of two others one runs it again,
// once; and operators see and change it from an ingress process. The task is of a
// type that nobody handles, so that it ends after its second try.
//
// That the killed one is noticed takes a minute or two; the small size lets the
// lease run out at once instead. The release size waits, and loses the lease, too.
func TestSchedulerKilledInATask(t *testing.T) {
	t.Parallel() // it waits more than it works
	y := build(t, shape{settings: "scheduler: {retry_base: 100ms, retry_max: 200ms}\n"})
	ctx := context.Background()
	once := filepath.Join(t.TempDir(), "crashed")
	killed := y.schedulers(1, "CRASH_POINT=task_begun", "CRASH_ONCE="+once)[0]
	const id = "e2e:1"
	client := scheduler.NewClient(scheduler.ClientOptions{Redis: y.rdb})
	ask := func() {
		t.Helper()
		err := client.Enqueue(ctx, scheduler.Job{
			Type: "e2e", Queue: contracts.QueueChores, Retries: 1, ID: func(int) string { return id },
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	ask()
	ask()
	select {
	case <-killed.signal(0):
	case <-time.After(30 * time.Second):
		t.Fatalf("the scheduler was not killed\n%s", killed.tail())
	}
	if l := y.tasks("--state", "active"); len(l.Tasks) != 1 || l.Tasks[0].ID != id || l.Tasks[0].Failed != 0 {
		t.Fatalf("after the kill: %+v", l)
	}
	lease := "asynq:{" + contracts.QueueChores + "}:lease"
	var err error
	if *full {
		err = y.rdb.Del(ctx, lease).Err()
	} else {
		err = y.rdb.ZAdd(ctx, lease, redis.Z{Score: 1, Member: id}).Err()
	}
	if err != nil {
		t.Fatal(err)
	}
	others := y.schedulers(2)
	runs := func() (n int) {
		for _, p := range others {
			n += p.lines("task failed, it is given up")
		}
		return n
	}
	archived := func() bool { return len(y.tasks("--state", "archived").Tasks) == 1 }
	eventually(t, size(30*time.Second, 4*time.Minute), "another one ran it", archived)
	if task := y.tasks().Tasks[0]; task.Failed != 2 || task.Tries != 2 || runs() != 1 {
		t.Errorf("%d runs by the others, task %+v", runs(), task)
	}
	if out := y.run("task", "retry", id); !strings.Contains(out, "which was archived, is going to run") {
		t.Errorf("retry says %q", out)
	}
	eventually(t, 20*time.Second, "it ran again", func() bool { return runs() == 2 && archived() })
	if out := y.run("task", "delete", id); !strings.Contains(out, "is deleted") {
		t.Errorf("delete says %q", out)
	}
	if l := y.tasks(); len(l.Tasks) != 0 {
		t.Errorf("at the end: %+v", l)
	}
	for _, p := range others {
		p.terminate()
	}
}
