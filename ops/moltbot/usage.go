package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"text/tabwriter"

	"moltbot/contracts"
)

type usageCmd struct {
	Day     string `placeholder:"2006-01-02" help:"The day, in UTC (default: today)."`
	From    string `placeholder:"2006-01-02" help:"The first of several days."`
	To      string `placeholder:"2006-01-02" help:"The last of them (default: today)."`
	DataDir string `name:"data-dir" placeholder:"DIR" help:"Data directory of an ingress process."`
	JSON    bool   `help:"Print JSON."`
}

// Run asks the running process and prints a row for each caller and model.
func (u *usageCmd) Run(ctx context.Context, c *cli, out *console) error {
	conf, err := flags{DataDir: u.DataDir}.load(c)
	if err != nil {
		return err
	}
	q := url.Values{}
	for name, day := range map[string]string{"day": u.Day, "from": u.From, "to": u.To} {
		if day != "" {
			q.Set(name, day)
		}
	}
	var r contracts.AdminUsage
	if err := admin(ctx, conf, http.MethodGet, "/admin/usage?"+q.Encode(), nil, &r); err != nil {
		return err
	}
	if u.JSON {
		return printJSON(out.out, r)
	}
	w := tabwriter.NewWriter(out.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "caller\tmodel\tcalls\tprompt\tcompletion\tcost\tcached\t")
	r.Total.Caller = "total"
	for _, row := range append(r.Rows, r.Total) {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%.6f\t%d\t\n",
			row.Caller, row.Model, row.Calls, row.PromptTokens, row.CompletionTokens, row.Cost, row.Cached)
	}
	return w.Flush()
}

type cacheCmd struct {
	Purge cachePurgeCmd `cmd:"" help:"Forget cached answers, in every process."`
}

type cachePurgeCmd struct {
	Model   string `placeholder:"NAME" help:"Only those of this model."`
	DataDir string `name:"data-dir" placeholder:"DIR" help:"Data directory of an ingress process."`
}

// Run asks the running process; all follow within a second.
func (p *cachePurgeCmd) Run(ctx context.Context, c *cli, out *console) error {
	conf, err := flags{DataDir: p.DataDir}.load(c)
	if err != nil {
		return err
	}
	path := "/admin/cache"
	if p.Model != "" {
		path += "?" + url.Values{"model": {p.Model}}.Encode()
	}
	var r contracts.CachePurged
	if err := admin(ctx, conf, http.MethodDelete, path, nil, &r); err != nil {
		return errors.Join(errors.New("nothing was purged"), err)
	}
	what := "all cached answers are"
	if r.Model != "" {
		what = "the cached answers of " + r.Model + " are"
	}
	fmt.Fprintln(out.out, what, "forgotten; every process follows within a second")
	return nil
}
