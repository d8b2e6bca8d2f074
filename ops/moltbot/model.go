package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"moltbot/contracts"
	"moltbot/ops/config"
)

type modelCmd struct {
	List   modelListCmd   `cmd:"" default:"withargs" help:"Show the models, the routes to them, and who follows."`
	Use    modelUseCmd    `cmd:"" help:"Make another model the default."`
	Route  modelRouteCmd  `cmd:"" help:"Replace the routes."`
	Reload modelReloadCmd `cmd:"" help:"Read the model file of every worker process again and import it."`
}

// modelFlags are those of every subcommand.
type modelFlags struct {
	DataDir string `name:"data-dir" placeholder:"DIR" help:"Data directory of an ingress process."`
	JSON    bool   `help:"Print JSON."`
}

// load finds the running process. With a data directory it does so although the
// files of the configuration are broken, which is when these commands are needed.
func (m modelFlags) load(c *cli) (config.Config, error) {
	conf, err := flags{DataDir: m.DataDir}.load(c)
	if err != nil && m.DataDir != "" {
		conf = config.Default()
		conf.DataDir = m.DataDir
		return conf, nil
	}
	return conf, err
}

type modelListCmd struct{ modelFlags }

// Run shows what holds everywhere.
func (m *modelListCmd) Run(ctx context.Context, c *cli, out *console) error {
	conf, err := m.load(c)
	if err != nil {
		return err
	}
	var r contracts.AdminModel
	if err := admin(ctx, conf, http.MethodGet, "/admin/model", nil, &r); err != nil {
		return err
	}
	if m.JSON {
		return printJSON(out.out, r)
	}
	return printModels(out.out, r)
}

type modelUseCmd struct {
	Name string `arg:"" help:"Name of a model in the table."`
	modelFlags
}

// Run changes the default.
func (m *modelUseCmd) Run(ctx context.Context, c *cli, out *console) error {
	return m.change(ctx, c, out, http.MethodPut, "/admin/model", contracts.ModelRequest{Default: m.Name})
}

type modelRouteCmd struct {
	Routes []string `arg:"" optional:"" name:"pattern=model" help:"^/zh/=qwen: a Go regular expression and the model for what it matches; the first that matches holds."`
	Clear  bool     `help:"Have no routes."`
	modelFlags
}

// Run replaces the routes, in the order given.
func (m *modelRouteCmd) Run(ctx context.Context, c *cli, out *console) error {
	if m.Clear == (len(m.Routes) > 0) {
		return errors.New("give routes as PATTERN=MODEL, or --clear")
	}
	routes, err := parseRoutes(m.Routes)
	if err != nil {
		return err
	}
	return m.change(ctx, c, out, http.MethodPut, "/admin/model", contracts.ModelRequest{Routes: &routes})
}

type modelReloadCmd struct{ modelFlags }

// Run has the files imported.
func (m *modelReloadCmd) Run(ctx context.Context, c *cli, out *console) error {
	return m.change(ctx, c, out, http.MethodPost, "/admin/model/reload", nil)
}

// parseRoutes splits at the last "=": a pattern may hold one, a model's name may not.
func parseRoutes(args []string) ([]contracts.ModelRoute, error) {
	routes := []contracts.ModelRoute{}
	for _, arg := range args {
		i := strings.LastIndexByte(arg, '=')
		if i < 1 || i == len(arg)-1 {
			return nil, fmt.Errorf("%.80q is not like ^/zh/=qwen", arg)
		}
		routes = append(routes, contracts.ModelRoute{Pattern: arg[:i], Model: arg[i+1:]})
	}
	return routes, nil
}

// change asks for a change and says who follows. It fails where not everybody does.
func (m modelFlags) change(ctx context.Context, c *cli, out *console, method, path string, ask any) error {
	conf, err := m.load(c)
	if err != nil {
		return err
	}
	r, err := changeModels(ctx, conf, method, path, ask)
	if err != nil {
		return err
	}
	if m.JSON {
		err = printJSON(out.out, r)
	} else {
		_, err = fmt.Fprintf(out.out, "default %s; %d of %d workers at revision %d\n", r.Default, r.Applied, r.Workers, r.Revision)
	}
	if err == nil {
		err = notFollowed(r)
	}
	return err
}

func notFollowed(r contracts.ModelReply) error {
	switch {
	case len(r.Behind) > 0:
		return fmt.Errorf("the change is stored, but not followed by: %s", strings.Join(r.Behind, "; "))
	case r.Applied < r.Workers:
		return errors.New("the change is stored, but who follows could not be found out in time; see \"moltbot model list\"")
	}
	return nil
}

func changeModels(ctx context.Context, conf config.Config, method, path string, ask any) (r contracts.ModelReply, err error) {
	err = admin(ctx, conf, method, path, ask, &r)
	return r, err
}

func printModels(out io.Writer, r contracts.AdminModel) error {
	switch {
	case r.Error != "":
		fmt.Fprintf(out, "revision %d: %s\n", r.Revision, r.Error)
	case r.Table == nil:
		fmt.Fprintln(out, "there is no table of models yet: no process with the workers role has started")
	default:
		if err := printTable(out, *r.Table); err != nil {
			return err
		}
		fmt.Fprintf(out, "revision %d, by %s at %s\n", r.Revision, r.Table.By, r.Table.At.Format("2006-01-02 15:04:05 MST"))
	}
	follow := 0
	for _, w := range r.Workers {
		if w.Follows(r.Revision) {
			follow++
		}
		for _, text := range troubles(w, r.Revision) {
			fmt.Fprintf(out, "%s (%s, process %d): %s\n", w.Node, w.Host, w.PID, text)
		}
	}
	_, err := fmt.Fprintf(out, "workers  %d of %d at revision %d\n", follow, len(r.Workers), r.Revision)
	return err
}

// troubles is what an operator should know of a process.
func troubles(w contracts.ModelsNode, revision int64) (texts []string) {
	if w.Models == nil {
		return []string{"its version knows no tables"}
	}
	if !w.Follows(revision) {
		texts = append(texts, strings.TrimSpace(fmt.Sprintf("at revision %d: %s", w.Models.Revision, w.Models.Error)))
	}
	if w.Models.Mistake != "" {
		texts = append(texts, "its configuration is refused: "+w.Models.Mistake)
	}
	for _, provider := range slices.Sorted(maps.Keys(w.Models.Resting)) {
		for _, k := range w.Models.Resting[provider] {
			why := "it has had too many calls"
			if k.Refused {
				why = "the provider refuses it"
			}
			texts = append(texts, fmt.Sprintf("key %d of %s rests until %s: %s", k.Key, provider, k.Until.Format("15:04:05 MST"), why))
		}
	}
	return texts
}

func printTable(out io.Writer, table contracts.ModelTable) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MODEL\tPROVIDER\tASKED FOR\tDEFAULT\tFALLBACK\tAT A TIME\tSEES\tPRICE")
	for _, name := range slices.Sorted(maps.Keys(table.Models)) {
		m, mark := table.Models[name], ""
		if name == table.Default {
			mark = "*"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, m.Provider, m.Model, mark, dash(strings.Join(m.Fallback, ", ")),
			limit(m.MaxConcurrent), sees(m), price(m))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for i, r := range table.Routes {
		fmt.Fprintf(out, "route %d  %s -> %s\n", i+1, r.Pattern, r.Model)
	}
	return nil
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func limit(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

func sees(m contracts.ModelEntry) string {
	if m.Sees() {
		return "images"
	}
	return "-"
}

// price is for a million tokens, in and out.
func price(m contracts.ModelEntry) string {
	if m.InputPrice == 0 && m.OutputPrice == 0 {
		return "-"
	}
	return fmt.Sprintf("%g / %g", m.InputPrice, m.OutputPrice)
}
