package app

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/scheduler"
	"moltbot/workers/workerstest"
)

func taskJob(id string, at time.Time) scheduler.Job {
	return scheduler.Job{
		Type: "x", Queue: contracts.QueueChores, Payload: []byte(canary), At: at, ID: func(int) string { return id },
	}
}

// change asks for an action and gives the code of the refusal, if it is one.
func change(a taskAdmin, action, id string) (contracts.TaskState, contracts.Code) {
	r, err := a.ChangeTask(context.Background(), contracts.TaskRequest{ID: id, Action: action})
	if err != nil {
		return "", contracts.Public(err).Code
	}
	return r.Was, ""
}

func TestTaskAdmin(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx := t.Context()
		a, c := newTaskAdmin(rdb), scheduler.NewClient(scheduler.ClientOptions{Redis: rdb})
		list := func(f contracts.TaskFilter) contracts.AdminTasks {
			t.Helper()
			if f.Limit == 0 {
				f.Limit = 10
			}
			l, err := a.ListTasks(ctx, f)
			must(t, err)
			text, err := json.Marshal(l)
			must(t, err)
			hasText(t, string(text)) // no payload
			return l
		}
		l := list(contracts.TaskFilter{})
		equal(t, "queues of an empty store", len(l.Queues), 2)
		equal(t, "tasks of an empty store", len(l.Tasks), 0)
		if _, code := change(a, contracts.TaskActRun, "none"); code != contracts.CodeNotFound {
			t.Errorf("a task that is not there: %s", code)
		}
		later := time.Now().Add(time.Hour)
		must(t, c.Enqueue(ctx, taskJob("wait", later)))
		must(t, c.Enqueue(ctx, taskJob("now", time.Time{})))
		must(t, c.Enqueue(ctx, taskJob("gone", later)))
		must(t, a.queues.ArchiveTask(contracts.QueueChores, "gone"))
		l = list(contracts.TaskFilter{})
		equal(t, "tasks", len(l.Tasks), 3)
		equal(t, "pending", l.Queues[0].Counts[contracts.TaskPending], 1)
		l = list(contracts.TaskFilter{State: contracts.TaskScheduled})
		equal(t, "scheduled", len(l.Tasks), 1)
		if next := l.Tasks[0].NextAt; next == nil || next.Unix() != later.Unix() || l.Tasks[0].Tries != 13 {
			t.Errorf("next at %v, %d tries", next, l.Tasks[0].Tries)
		}
		equal(t, "in the other queue", len(list(contracts.TaskFilter{Queue: contracts.QueueNightly}).Tasks), 0)
		l = list(contracts.TaskFilter{Limit: 2})
		equal(t, "tasks within the limit", len(l.Tasks), 2)
		equal(t, "more", l.More, true)
		for _, step := range []struct {
			action, id string
			was        contracts.TaskState
			code       contracts.Code
		}{
			{contracts.TaskActRun, "now", "", contracts.CodeConflict},
			{contracts.TaskActRun, "gone", "", contracts.CodeConflict},
			{contracts.TaskActRetry, "wait", "", contracts.CodeConflict},
			{"dance", "wait", "", contracts.CodeBadRequest},
			{contracts.TaskActRun, "wait", contracts.TaskScheduled, ""},
			{contracts.TaskActRetry, "gone", contracts.TaskArchived, ""},
			{contracts.TaskActDelete, "now", contracts.TaskPending, ""},
			{contracts.TaskActDelete, "now", "", contracts.CodeNotFound},
		} {
			if was, code := change(a, step.action, step.id); was != step.was || code != step.code {
				t.Errorf("%s %s: was %q, code %q; want %q, %q", step.action, step.id, was, code, step.was, step.code)
			}
		}
		equal(t, "pending at the end", list(contracts.TaskFilter{}).Queues[0].Counts[contracts.TaskPending], 2)
	})
}

func TestTaskAdminWithoutRedis(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
	defer func() { _ = rdb.Close() }()
	a := newTaskAdmin(rdb)
	if _, err := a.ListTasks(t.Context(), contracts.TaskFilter{}); contracts.Public(err).Code != contracts.CodeStoreDown {
		t.Errorf("list: %v", err)
	}
	if _, code := change(a, contracts.TaskActRun, "x"); code != contracts.CodeStoreDown {
		t.Errorf("run: %s", code)
	}
}

// The whole way: a role asks, the scheduler runs, an operator sees and deletes.
func TestTasksOfAProcess(t *testing.T) {
	leaks := noLeak(t)
	a, lines, err := up(t, settings(t))
	must(t, err)
	r := run(t, a)
	await(t, "ready", r.Ready())
	must(t, a.chores.Enqueue(t.Context(), taskJob("c:1", time.Time{})))
	var l contracts.AdminTasks
	eventually(t, "it fails, for nobody handles it", func() bool {
		equal(t, "status", get(t, a.admin.URL+"/admin/tasks?state=retry", a.admin.Token, &l), http.StatusOK)
		return len(l.Tasks) == 1
	})
	if task := l.Tasks[0]; task.ID != "c:1" || task.Failed != 1 || task.NextAt == nil || !strings.Contains(task.Reason, "no handler") {
		t.Errorf("task %+v", task)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.admin.URL+"/admin/tasks", bytes.NewReader([]byte(`{"id":"c:1","action":"delete"}`)))
	must(t, err)
	req.Close = true
	req.Header.Set("Authorization", "Bearer "+a.admin.Token)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	text, err := io.ReadAll(res.Body)
	must(t, err)
	_ = res.Body.Close()
	equal(t, "answer", strings.TrimSpace(string(text)), `{"id":"c:1","queue":"chores","action":"delete","was":"retry"}`)
	eventually(t, "ready for messages and tasks", func() bool {
		code, text := scrape(t, a, "/readyz")
		return code == http.StatusOK && strings.Contains(text, `"scheduler":"ok"`)
	})
	_, metrics := scrape(t, a, "/metrics")
	hasText(t, metrics, `moltbot_task_runs_total{outcome="retry",type="other"} 1`, `moltbot_task_queue_up 1`)
	r.stop(t)
	hasText(t, lines.String(), "task changed by an operator", `"by":"operator"`)
	leaks()
}

// The other roles ask for tasks though they run none.
func TestProcessWithoutScheduler(t *testing.T) {
	o := Options{Config: settings(t), Roles: []string{RoleWorkers}, Embedded: true, PathLookup: noServer}
	a, err := New(t.Context(), o)
	must(t, err)
	r := run(t, a)
	await(t, "ready", r.Ready())
	must(t, a.chores.Summarize(t.Context(), "c", "m"))
	equal(t, "scheduler", a.scheduler == nil, true)
	i, err := asynq.NewInspectorFromRedisClient(a.tasks).GetQueueInfo(contracts.QueueChores)
	must(t, err)
	equal(t, "pending", i.Pending, 1)
	r.stop(t)
}
