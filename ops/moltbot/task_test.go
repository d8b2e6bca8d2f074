package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
)

func TestTask(t *testing.T) {
	dir := t.TempDir()
	contains(t, fails(t, exitFailure, "task", "list", "--data-dir", dir), "no process seems to run")
	fails(t, exitUsage, "task", "retry")
	r := up(t, dir)
	contains(t, must(t, "status", "--data-dir", dir), "roles ingress+workers+scheduler")
	contains(t, must(t, "task", "list", "--data-dir", dir), "chores   0 active 0 pending", "nightly  0 active")
	var l contracts.AdminTasks
	if err := json.Unmarshal([]byte(must(t, "task", "list", "--json", "--queue", "chores", "--data-dir", dir)), &l); err != nil {
		t.Fatal(err)
	}
	if len(l.Queues) != 1 || l.Tasks == nil || len(l.Tasks) != 0 {
		t.Errorf("tasks are %+v", l)
	}
	contains(t, fails(t, exitFailure, "task", "list", "--state", "lost", "--data-dir", dir), "is not a state of a task")
	for _, action := range []string{"run", "retry", "delete"} {
		contains(t, fails(t, exitFailure, "task", action, "none", "--data-dir", dir), "there is no such task")
	}
	r.stop(t)
}

func TestTasksArePrinted(t *testing.T) {
	next := time.Date(2026, 11, 20, 3, 0, 0, 0, time.UTC)
	var out strings.Builder
	err := printTasks(&out, contracts.AdminTasks{
		Queues: []contracts.TaskQueue{{Queue: contracts.QueueChores, Counts: map[contracts.TaskState]int{contracts.TaskRetry: 1}, Paused: true}},
		Tasks: []contracts.Task{{
			ID: "sum:c:m:1", Queue: contracts.QueueChores, Type: contracts.TaskSummarize, State: contracts.TaskRetry, Failed: 2, Tries: 13,
			Reason: "model_failed: it said\nno", NextAt: &next,
		}},
		More: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	contains(t, out.String(), "1 retry 0 archived 0 completed, paused\n", "QUEUE   STATE  TYPE       FAILED   NEXT                  ID         REASON\n",
		"chores  retry  summarize  2 of 13  2026-11-20T03:00:00Z  sum:c:m:1  \"model_failed: it said\\nno\"\n", "and others")
}
