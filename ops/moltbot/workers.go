package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"moltbot/contracts"
	"moltbot/ops/config"
)

type workersCmd struct {
	Watch   bool   `help:"Print again every second."`
	DataDir string `name:"data-dir" placeholder:"DIR" help:"Data directory of an ingress process."`
	JSON    bool   `help:"Print JSON; with --watch, one line each time."`
}

// Run lists every process that has the workers role, wherever it runs.
func (w *workersCmd) Run(ctx context.Context, c *cli, out *console) error {
	conf, err := flags{DataDir: w.DataDir}.load(c)
	if err != nil {
		return err
	}
	if !w.Watch {
		return w.show(ctx, conf, out.out)
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if err := w.show(ctx, conf, out.out); err != nil && ctx.Err() == nil {
			fmt.Fprintln(out.err, "moltbot:", err) // it may come back
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !w.JSON {
			fmt.Fprintln(out.out)
		}
	}
}

func (w *workersCmd) show(ctx context.Context, conf config.Config, out io.Writer) error {
	var r contracts.AdminWorkers
	if err := admin(ctx, conf, http.MethodGet, "/admin/workers", nil, &r); err != nil {
		return err
	}
	switch {
	case w.JSON && w.Watch:
		return printLine(out, r)
	case w.JSON:
		return printJSON(out, r)
	}
	return printWorkers(out, r, time.Now())
}

func printWorkers(out io.Writer, r contracts.AdminWorkers, now time.Time) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tHOST\tPID\tVERSION\tPOOL\tSLOTS\tIN USE\tUP")
	total := make(map[contracts.Pool]contracts.PoolStatus)
	for _, w := range r.Workers {
		for _, p := range contracts.Pools() {
			s, ok := w.Pools[p]
			if !ok {
				continue
			}
			fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%d\t%d\t%s\n", w.Node, w.Host, w.PID, w.Build, p, s.Slots, s.InUse,
				now.Sub(w.Started).Truncate(time.Second))
			total[p] = contracts.PoolStatus{Slots: total[p].Slots + s.Slots, InUse: total[p].InUse + s.InUse}
		}
	}
	for _, p := range contracts.Pools() {
		if s, ok := total[p]; ok {
			fmt.Fprintf(t, "total\t\t\t\t%s\t%d\t%d\t\n", p, s.Slots, s.InUse)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(r.Workers) == 0 {
		fmt.Fprintln(out, "no process with the workers role answers")
	}
	fmt.Fprintf(out, "wanted  %s\nqueue   %d waiting, %d in progress, %d answers on their way out\n",
		sayWanted(r.Wanted), r.Queue.Waiting, r.Queue.InProgress, r.Queue.Sending)
	return nil
}

func sayWanted(wanted map[contracts.Pool]int) string {
	var all []string
	for _, p := range contracts.Pools() {
		if n, ok := wanted[p]; ok {
			all = append(all, string(p)+"="+strconv.Itoa(n))
		}
	}
	if len(all) == 0 {
		return "as each process is configured"
	}
	return strings.Join(all, " ")
}
