package ingress

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	"github.com/labstack/echo/v4"

	"moltbot/contracts"
)

// TaskAdmin knows and changes the background tasks.
type TaskAdmin interface {
	ListTasks(context.Context, contracts.TaskFilter) (contracts.AdminTasks, error)
	ChangeTask(context.Context, contracts.TaskRequest) (contracts.TaskReply, error)
}

// Limits of a list of tasks, and of the name of one.
const (
	someTasks  = 100
	mostTasks  = 1000
	longTaskID = 512
)

// listTasks is GET /admin/tasks.
func (in *Ingress) listTasks(a *Admin) echo.HandlerFunc {
	return func(c echo.Context) error {
		f := contracts.TaskFilter{Queue: c.QueryParam("queue"), State: contracts.TaskState(c.QueryParam("state")), Limit: someTasks}
		if f.Queue != "" && !slices.Contains(contracts.TaskQueues(), f.Queue) {
			return fail(contracts.CodeBadRequest, `"queue" is not a queue of tasks`)
		}
		if f.State != "" && !slices.Contains(contracts.TaskStates(), f.State) {
			return fail(contracts.CodeBadRequest, `"state" is not a state of a task`)
		}
		if given := c.QueryParam("limit"); given != "" {
			n, err := strconv.Atoi(given)
			if err != nil || n < 1 || n > mostTasks {
				return fail(contracts.CodeBadRequest, `"limit" must be 1 to 1000`)
			}
			f.Limit = n
		}
		tasks, err := a.Tasks.ListTasks(c.Request().Context(), f)
		if err != nil {
			return err
		}
		return c.JSON(http.StatusOK, tasks)
	}
}

// changeTask is POST /admin/tasks.
func (in *Ingress) changeTask(a *Admin) echo.HandlerFunc {
	return func(c echo.Context) error {
		var r contracts.TaskRequest
		if err := in.readJSON(c, &r); err != nil {
			return err
		}
		if r.ID == "" || len(r.ID) > longTaskID {
			return fail(contracts.CodeBadRequest, `"id" must name a task`)
		}
		if r.Queue != "" && !slices.Contains(contracts.TaskQueues(), r.Queue) {
			return fail(contracts.CodeBadRequest, `"queue" is not a queue of tasks`)
		}
		if !slices.Contains([]string{contracts.TaskActRun, contracts.TaskActRetry, contracts.TaskActDelete}, r.Action) {
			return fail(contracts.CodeBadRequest, `"action" must be run, retry or delete`)
		}
		reply, err := a.Tasks.ChangeTask(c.Request().Context(), r)
		if err != nil {
			return err
		}
		in.o.Log.Info().Str("task", reply.ID).Str("queue", reply.Queue).Str("action", reply.Action).Str("was", string(reply.Was)).
			Str("by", text(c, keyCaller)).Msg("task changed by an operator")
		return c.JSON(http.StatusOK, reply)
	}
}
