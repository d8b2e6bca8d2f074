package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"moltbot/contracts"
	"moltbot/ops/config"
)

// change does action to the letters that were chosen. What the process did is
// printed even if it could not do all.
func (d deadChoice) change(ctx context.Context, c *cli, out *console, action string) error {
	conf, err := flags{DataDir: d.DataDir}.load(c)
	if err != nil {
		return err
	}
	sum := contracts.DeadReply{Action: action, Done: []contracts.DeadDone{}, Refused: []contracts.DeadRefused{}}
	if d.All {
		err = d.changeAll(ctx, conf, &sum, bar(out.err))
	} else {
		err = d.changeNamed(ctx, conf, &sum)
	}
	if d.JSON {
		if e := printJSON(out.out, sum); e != nil {
			return e
		}
	} else {
		printDeadReply(out.out, sum, d.All)
	}
	if err == nil && len(sum.Refused) > 0 {
		err = fmt.Errorf("%d of %d dead letters stay", len(sum.Refused), len(sum.Refused)+len(sum.Done))
	}
	return err
}

func (d deadChoice) changeNamed(ctx context.Context, conf config.Config, sum *contracts.DeadReply) error {
	for _, letter := range d.Letters {
		method, path := http.MethodPost, deadPath(letter)+"/replay"
		if sum.Action == contracts.DeadActDrop {
			method, path = http.MethodDelete, deadPath(letter)
		}
		var r contracts.DeadReply
		if err := admin(ctx, conf, method, path, nil, &r); err != nil {
			return fmt.Errorf("%s: %w", letter, err)
		}
		sum.Done = append(sum.Done, r.Done...)
	}
	return nil
}

// changeAll repeats the request until nothing is left of what there was at the first.
func (d deadChoice) changeAll(ctx context.Context, conf config.Config, sum *contracts.DeadReply, show io.Writer) error {
	f := d.filter(time.Now())
	defer fmt.Fprint(show, "\r\x1b[K")
	for {
		var r contracts.DeadReply
		if err := admin(ctx, conf, http.MethodPost, "/admin/dead/"+sum.Action, f, &r); err != nil {
			return err
		}
		sum.Done, sum.Refused = append(sum.Done, r.Done...), append(sum.Refused, r.Refused...)
		fmt.Fprintf(show, "\r\x1b[K%d done, %d stay", len(sum.Done), len(sum.Refused))
		if !r.More {
			return nil
		}
		if r.After <= f.After {
			return errors.New("the process makes no headway; its log says why")
		}
		f.After, f.Until = r.After, r.Until
	}
}

func printDeadReply(out io.Writer, sum contracts.DeadReply, all bool) {
	for _, done := range sum.Done {
		known := ""
		if done.Known {
			known = " (an earlier replay had stored it)"
		}
		if done.ReplayID != "" {
			fmt.Fprintf(out, "%d is replayed as %s%s\n", done.Sequence, done.ReplayID, known)
		} else {
			fmt.Fprintf(out, "%d is dropped\n", done.Sequence)
		}
	}
	for _, r := range sum.Refused {
		fmt.Fprintf(out, "%d stays: %s\n", r.Sequence, visible(r.Reason))
	}
	if all {
		fmt.Fprintf(out, "%d done, %d stay\n", len(sum.Done), len(sum.Refused))
	}
}
