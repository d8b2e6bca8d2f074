package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"moltbot/contracts"
	"moltbot/ops/config"
)

type scaleCmd struct {
	Pools   []string `arg:"" name:"pool=slots" help:"chat=64 or deliver=32: slots of each process; 0 pauses; chat=default: what each process is configured with."`
	Wait    bool     `default:"true" negatable:"" help:"Wait until every process follows."`
	DataDir string   `name:"data-dir" placeholder:"DIR" help:"Data directory of an ingress process."`
	JSON    bool     `help:"Print JSON."`
}

// How long "scale" waits for the processes, and how often it looks.
const (
	followIn   = 5 * time.Second
	followLook = 100 * time.Millisecond
)

// scaled is what "scale --json" prints.
type scaled struct {
	Pools    []contracts.PoolReply `json:"pools"`
	Followed bool                  `json:"followed"` // by every process; false as well when it was not waited for
	Behind   []string              `json:"behind,omitempty"`
}

// Run changes the pools in their order, all or, where one is refused, those before it.
func (s *scaleCmd) Run(ctx context.Context, c *cli, out *console) error {
	asks, err := parsePools(s.Pools)
	if err != nil {
		return err
	}
	conf, err := flags{DataDir: s.DataDir}.load(c)
	if err != nil {
		return err
	}
	var done scaled
	for _, a := range asks {
		var r contracts.PoolReply
		if err := admin(ctx, conf, http.MethodPut, "/admin/pools/"+string(a.pool), a.request, &r); err != nil {
			return fmt.Errorf("%s: %w", a.pool, err)
		}
		done.Pools = append(done.Pools, r)
		if !s.JSON {
			fmt.Fprintf(out.out, "%s: %s\n", r.Pool, sayPool(r))
		}
	}
	if s.Wait {
		if done.Behind, err = follow(ctx, conf, done.Pools); err != nil {
			return err
		}
		done.Followed = len(done.Behind) == 0
	}
	switch {
	case s.JSON:
		if err := printJSON(out.out, done); err != nil {
			return err
		}
	case done.Followed:
		fmt.Fprintln(out.out, "every process follows")
	}
	if len(done.Behind) > 0 {
		return fmt.Errorf("not followed within %s by: %s", followIn, strings.Join(done.Behind, "; "))
	}
	return nil
}

func sayPool(r contracts.PoolReply) string {
	text := "as each process is configured"
	if r.Slots != nil {
		text = fmt.Sprintf("%d slots in each process", *r.Slots)
	}
	if r.Note != "" {
		text += " (" + r.Note + ")"
	}
	return text
}

// poolAsk is one argument of "scale".
type poolAsk struct {
	pool    contracts.Pool
	request contracts.PoolRequest
}

func parsePools(args []string) ([]poolAsk, error) {
	var asks []poolAsk
	seen := make(map[contracts.Pool]bool)
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		a := poolAsk{pool: contracts.Pool(name)}
		switch {
		case !ok:
			return nil, fmt.Errorf("%.40q is not like chat=64", arg)
		case !a.pool.Known():
			return nil, fmt.Errorf("no pool %.40q; there are %v", name, contracts.Pools())
		case seen[a.pool]:
			return nil, fmt.Errorf("%s is given twice", name)
		}
		seen[a.pool] = true
		if value == "default" {
			a.request.Default = true
		} else {
			n, err := strconv.Atoi(value)
			if err != nil {
				return nil, fmt.Errorf("%s=%.40s: neither a whole number nor \"default\"", name, value)
			}
			a.request.Slots = &n
		}
		asks = append(asks, a)
	}
	return asks, nil
}

// follow waits until every process that answers has the slots, and names those that do not.
func follow(ctx context.Context, conf config.Config, pools []contracts.PoolReply) (behind []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, followIn)
	defer cancel()
	tick := time.NewTicker(followLook)
	defer tick.Stop()
	for {
		var w contracts.AdminWorkers
		if err := admin(ctx, conf, http.MethodGet, "/admin/workers", nil, &w); err != nil {
			if errors.Is(ctx.Err(), context.DeadlineExceeded) && behind != nil {
				return behind, nil
			}
			return nil, err
		}
		if behind = notYet(w.Workers, pools); len(behind) == 0 {
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return behind, nil
		case <-tick.C:
		}
	}
}

func notYet(workers []contracts.WorkerStatus, pools []contracts.PoolReply) (behind []string) {
	for _, w := range workers {
		for _, p := range pools {
			is, ok := w.Pools[p.Pool]
			want := is.Configured
			if p.Slots != nil {
				want = *p.Slots
			}
			if ok && is.Slots != want {
				behind = append(behind, fmt.Sprintf("%s (%s, process %d) has %s=%d", w.Node, w.Host, w.PID, p.Pool, is.Slots))
			}
		}
	}
	return behind
}
