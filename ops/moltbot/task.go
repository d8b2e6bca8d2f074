package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"moltbot/contracts"
)

type taskCmd struct {
	List   taskListCmd   `cmd:"" help:"Show tasks that are not finished."`
	Run    taskRunCmd    `cmd:"" help:"Run now what waits for its time or its next try."`
	Retry  taskRetryCmd  `cmd:"" help:"Try again what was given up."`
	Delete taskDeleteCmd `cmd:"" help:"Delete a task that does not run."`
}

type taskListCmd struct {
	Queue   string `placeholder:"chores|nightly" help:"Only those of this queue."`
	State   string `placeholder:"STATE" help:"Only those that are active, pending, scheduled, retry, archived or completed."`
	Limit   int    `default:"100" help:"How many at most, up to 1000."`
	DataDir string `name:"data-dir" placeholder:"DIR" help:"Data directory of an ingress process."`
	JSON    bool   `help:"Print JSON."`
}

// Run asks the running process.
func (l *taskListCmd) Run(ctx context.Context, c *cli, out *console) error {
	conf, err := flags{DataDir: l.DataDir}.load(c)
	if err != nil {
		return err
	}
	q := url.Values{"limit": {strconv.Itoa(l.Limit)}}
	for name, value := range map[string]string{"queue": l.Queue, "state": l.State} {
		if value != "" {
			q.Set(name, value)
		}
	}
	var r contracts.AdminTasks
	if err := admin(ctx, conf, http.MethodGet, "/admin/tasks?"+q.Encode(), nil, &r); err != nil {
		return err
	}
	if l.JSON {
		return printJSON(out.out, r)
	}
	return printTasks(out.out, r)
}

func printTasks(out io.Writer, r contracts.AdminTasks) error {
	for _, q := range r.Queues {
		fmt.Fprintf(out, "%-8s", q.Queue)
		for _, state := range contracts.TaskStates() {
			fmt.Fprintf(out, " %d %s", q.Counts[state], state)
		}
		if q.Paused {
			fmt.Fprint(out, ", paused")
		}
		fmt.Fprintln(out)
	}
	if len(r.Tasks) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nQUEUE\tSTATE\tTYPE\tFAILED\tNEXT\tID\tREASON")
	for _, task := range r.Tasks {
		next := "-"
		if task.NextAt != nil {
			next = task.NextAt.Format(time.RFC3339)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d of %d\t%s\t%s\t%.80q\n", task.Queue, task.State, task.Type, task.Failed, task.Tries, next, task.ID, task.Reason)
	}
	if r.More {
		fmt.Fprintln(t, "… and others; see --limit, --queue and --state")
	}
	return t.Flush()
}

// taskFlags name one task.
type taskFlags struct {
	ID      string `arg:"" help:"Its id, as \"moltbot task list\" shows it."`
	Queue   string `placeholder:"chores|nightly" help:"Its queue; default: whichever has it."`
	DataDir string `name:"data-dir" placeholder:"DIR" help:"Data directory of an ingress process."`
	JSON    bool   `help:"Print JSON."`
}

func (f taskFlags) change(ctx context.Context, c *cli, out *console, action string) error {
	conf, err := flags{DataDir: f.DataDir}.load(c)
	if err != nil {
		return err
	}
	var r contracts.TaskReply
	ask := contracts.TaskRequest{ID: f.ID, Queue: f.Queue, Action: action}
	if err := admin(ctx, conf, http.MethodPost, "/admin/tasks", ask, &r); err != nil {
		return err
	}
	if f.JSON {
		return printJSON(out.out, r)
	}
	what := "is going to run"
	if action == contracts.TaskActDelete {
		what = "is deleted"
	}
	fmt.Fprintf(out.out, "%s of %s, which was %s, %s\n", r.ID, r.Queue, r.Was, what)
	return nil
}

type taskRunCmd struct{ taskFlags }

// Run asks the running process.
func (t *taskRunCmd) Run(ctx context.Context, c *cli, out *console) error {
	return t.change(ctx, c, out, contracts.TaskActRun)
}

type taskRetryCmd struct{ taskFlags }

// Run asks the running process.
func (t *taskRetryCmd) Run(ctx context.Context, c *cli, out *console) error {
	return t.change(ctx, c, out, contracts.TaskActRetry)
}

type taskDeleteCmd struct{ taskFlags }

// Run asks the running process.
func (t *taskDeleteCmd) Run(ctx context.Context, c *cli, out *console) error {
	return t.change(ctx, c, out, contracts.TaskActDelete)
}
