package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
)

// taskAdmin is what the admin API does with background tasks. The library takes
// no contexts; the time-outs of the client bound its calls.
type taskAdmin struct{ queues *asynq.Inspector }

func newTaskAdmin(rdb redis.UniversalClient) taskAdmin {
	return taskAdmin{asynq.NewInspectorFromRedisClient(rdb)}
}

// ListTasks is GET /admin/tasks.
func (a taskAdmin) ListTasks(_ context.Context, f contracts.TaskFilter) (contracts.AdminTasks, error) {
	known, err := a.queues.Queues()
	if err != nil {
		return contracts.AdminTasks{}, tasksDown(err)
	}
	all := contracts.AdminTasks{Queues: []contracts.TaskQueue{}, Tasks: []contracts.Task{}}
	for _, name := range contracts.TaskQueues() {
		if f.Queue != "" && f.Queue != name {
			continue
		}
		q := contracts.TaskQueue{Queue: name, Counts: map[contracts.TaskState]int{}}
		if slices.Contains(known, name) { // otherwise nothing was ever put into it
			if q, err = a.queue(name); err != nil {
				return contracts.AdminTasks{}, tasksDown(err)
			}
		}
		all.Queues = append(all.Queues, q)
		for _, state := range contracts.TaskStates() {
			if q.Counts[state] == 0 || f.State != "" && f.State != state || f.State == "" && state == contracts.TaskCompleted {
				continue
			}
			// One more than is wanted shows whether there are others.
			tasks, err := a.list(name, state, f.Limit+1-len(all.Tasks))
			if err != nil {
				return contracts.AdminTasks{}, tasksDown(err)
			}
			all.Tasks = append(all.Tasks, tasks...)
		}
	}
	if len(all.Tasks) > f.Limit {
		all.Tasks, all.More = all.Tasks[:f.Limit], true
	}
	return all, nil
}

func (a taskAdmin) queue(name string) (contracts.TaskQueue, error) {
	i, err := a.queues.GetQueueInfo(name)
	if err != nil {
		return contracts.TaskQueue{}, fmt.Errorf("look at queue %s: %w", name, err)
	}
	return contracts.TaskQueue{Queue: name, Paused: i.Paused, Counts: map[contracts.TaskState]int{
		contracts.TaskActive: i.Active, contracts.TaskPending: i.Pending, contracts.TaskScheduled: i.Scheduled,
		contracts.TaskRetry: i.Retry, contracts.TaskArchived: i.Archived, contracts.TaskCompleted: i.Completed,
	}}, nil
}

func (a taskAdmin) list(queue string, state contracts.TaskState, most int) ([]contracts.Task, error) {
	if most <= 0 {
		return nil, nil
	}
	read := map[contracts.TaskState]func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){
		contracts.TaskActive: a.queues.ListActiveTasks, contracts.TaskPending: a.queues.ListPendingTasks,
		contracts.TaskScheduled: a.queues.ListScheduledTasks, contracts.TaskRetry: a.queues.ListRetryTasks,
		contracts.TaskArchived: a.queues.ListArchivedTasks, contracts.TaskCompleted: a.queues.ListCompletedTasks,
	}[state]
	infos, err := read(queue, asynq.PageSize(most))
	if err != nil {
		return nil, fmt.Errorf("list %s tasks of %s: %w", state, queue, err)
	}
	tasks := make([]contracts.Task, 0, len(infos))
	for _, i := range infos {
		tasks = append(tasks, shownTask(i))
	}
	return tasks, nil
}

func shownTask(i *asynq.TaskInfo) contracts.Task {
	t := contracts.Task{
		ID: i.ID, Queue: i.Queue, Type: contracts.TaskType(i.Type), State: contracts.TaskState(i.State.String()),
		Failed: i.Retried, Tries: i.MaxRetry + 1, Reason: i.LastErr, FailedAt: moment(i.LastFailedAt), FinishedAt: moment(i.CompletedAt),
	}
	if t.State == contracts.TaskArchived {
		t.Failed++ // the last failure is not a retry
	}
	if t.State == contracts.TaskScheduled || t.State == contracts.TaskRetry {
		t.NextAt = moment(i.NextProcessAt)
	}
	return t
}

func moment(t time.Time) *time.Time {
	if t.IsZero() || t.Unix() == 0 {
		return nil
	}
	t = t.UTC()
	return &t
}

// ChangeTask is POST /admin/tasks.
func (a taskAdmin) ChangeTask(_ context.Context, r contracts.TaskRequest) (contracts.TaskReply, error) {
	task, err := a.find(r)
	if err != nil {
		return contracts.TaskReply{}, err
	}
	reply := contracts.TaskReply{ID: task.ID, Queue: task.Queue, Action: r.Action, Was: contracts.TaskState(task.State.String())}
	var act func(queue, id string) error
	var from []contracts.TaskState
	switch r.Action {
	case contracts.TaskActRun:
		act, from = a.queues.RunTask, []contracts.TaskState{contracts.TaskScheduled, contracts.TaskRetry}
	case contracts.TaskActRetry:
		act, from = a.queues.RunTask, []contracts.TaskState{contracts.TaskArchived, contracts.TaskRetry}
	case contracts.TaskActDelete:
		act = a.queues.DeleteTask
		from = slices.DeleteFunc(contracts.TaskStates(), func(s contracts.TaskState) bool { return s == contracts.TaskActive })
	default:
		return reply, &contracts.Error{Code: contracts.CodeBadRequest, Message: "no such action"}
	}
	if !slices.Contains(from, reply.Was) {
		return reply, &contracts.Error{Code: contracts.CodeConflict, Message: fmt.Sprintf("the task is %s: %s is not for that", reply.Was, r.Action)}
	}
	err = act(task.Queue, task.ID)
	if errors.Is(err, asynq.ErrTaskNotFound) {
		return reply, noTask()
	}
	if err != nil { // mostly that it went on meanwhile; the library does not tell that apart
		return reply, &contracts.Error{Code: contracts.CodeConflict, Message: "the task is not " + string(reply.Was) + " any more, or the store does not answer; look again", Err: err}
	}
	return reply, nil
}

func (a taskAdmin) find(r contracts.TaskRequest) (*asynq.TaskInfo, error) {
	for _, name := range contracts.TaskQueues() {
		if r.Queue != "" && r.Queue != name {
			continue
		}
		task, err := a.queues.GetTaskInfo(name, r.ID)
		if err == nil {
			return task, nil
		}
		if !errors.Is(err, asynq.ErrTaskNotFound) && !errors.Is(err, asynq.ErrQueueNotFound) {
			return nil, tasksDown(err)
		}
	}
	return nil, noTask()
}

func noTask() error {
	return &contracts.Error{Code: contracts.CodeNotFound, Message: "there is no such task"}
}

func tasksDown(err error) error {
	return &contracts.Error{Code: contracts.CodeStoreDown, Message: "the store of the tasks does not answer", Retryable: true, RetryAfter: time.Second, Err: err}
}
