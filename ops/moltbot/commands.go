package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"moltbot/contracts"
	"moltbot/ops/app"
	"moltbot/ops/config"
)

type tokenCmd struct {
	Days    int      `short:"d" default:"365" help:"Days until it expires."`
	User    string   `short:"u" required:"" placeholder:"USER" help:"Whom it speaks for."`
	Scope   []string `default:"chat" help:"chat, admin, or both with a comma between."`
	Rate    string   `placeholder:"10/20|off" help:"Requests per second and burst of this user, instead of http.rate_limit."`
	Models  []string `placeholder:"NAME,..." help:"Models this user may use; a name ending in * stands for all that begin so. Default: every model."`
	Budget  int64    `placeholder:"TOKENS" help:"Tokens of models a day of this user, instead of http.daily_tokens."`
	DataDir string   `name:"data-dir" placeholder:"DIR" help:"Data directory whose keys sign it."`
	JSON    bool     `help:"Print JSON."`
}

// Run prints the token alone on standard output, and what it is worth beside it.
func (t *tokenCmd) Run(ctx context.Context, c *cli, out *console) error {
	conf, err := flags{DataDir: t.DataDir}.load(c)
	if err != nil {
		return err
	}
	ask := contracts.TokenRequest{User: t.User, Days: t.Days, Scopes: t.Scope, Rate: t.Rate, Models: t.Models, Budget: t.Budget}
	reply, err := mint(ctx, conf, ask)
	if err != nil {
		return fmt.Errorf("make a token: %w", err)
	}
	if t.JSON {
		return printJSON(out.out, reply)
	}
	fmt.Fprintln(out.out, reply.Token)
	limits := ""
	if reply.Rate != "" {
		limits = ", rate " + reply.Rate
	}
	if len(reply.Models) > 0 {
		limits += ", models " + strings.Join(reply.Models, " ")
	}
	if reply.Budget != 0 {
		limits += fmt.Sprintf(", %d tokens a day", reply.Budget)
	}
	fmt.Fprintf(out.err, "user %s, scope %s%s, expires %s\n", reply.User, strings.Join(reply.Scopes, " "), limits, reply.Expires.Format(time.DateOnly))
	return nil
}

// mint signs with the key files; where they cannot be used, it asks the process
// that runs on the data directory, which has opened its own.
func mint(ctx context.Context, conf config.Config, ask contracts.TokenRequest) (contracts.TokenReply, error) {
	keys, err := app.OpenKeys(ctx, conf, conf.KeysDir != "")
	if err == nil {
		return app.MintToken(keys, ask)
	}
	var reply contracts.TokenReply
	if e := admin(ctx, conf, http.MethodPost, "/admin/token", ask, &reply); e != nil {
		return reply, errors.Join(err, e)
	}
	return reply, nil
}

type statusCmd struct {
	DataDir string `name:"data-dir" placeholder:"DIR" help:"Data directory of the process."`
	JSON    bool   `help:"Print JSON."`
}

// Run asks the running process.
func (s *statusCmd) Run(ctx context.Context, c *cli, out *console) error {
	conf, err := flags{DataDir: s.DataDir}.load(c)
	if err != nil {
		return err
	}
	var r contracts.AdminStatus
	if err := admin(ctx, conf, http.MethodGet, "/admin/status", nil, &r); err != nil {
		return err
	}
	if s.JSON {
		return printJSON(out.out, r)
	}
	fmt.Fprintf(out.out, "moltbot %s, node %s, roles %s, up %s\n", r.Version, r.Node, strings.Join(r.Roles, "+"), time.Duration(r.Uptime)*time.Second)
	fmt.Fprintf(out.out, "store    %s\nmodel    %s\n", r.Store, r.Model)
	fmt.Fprintf(out.out, "queue    %d waiting, %d in progress, %d answers on their way out, %d dead letters\n",
		r.Queue.Waiting, r.Queue.InProgress, r.Queue.Sending, r.Queue.Dead)
	fmt.Fprintf(out.out, "workers  %d of %d slots in use%s\nrequests %d waiting\n", r.SlotsUse, r.Slots, wantedSlots(r.SlotsWanted), r.Waiting)
	if r.Metrics != "" {
		fmt.Fprintf(out.out, "metrics  http://%s/metrics\n", reachable(r.Metrics))
	}
	names := make([]string, 0, len(r.Checks))
	for name := range r.Checks {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(out.out, "%-8s %s\n", name, r.Checks[name])
	}
	return nil
}

func wantedSlots(n *int) string {
	if n == nil {
		return ""
	}
	return fmt.Sprintf(", %d wanted in each process", *n)
}

// mostAnswer bounds what the admin API may say; a month's usage of many callers is long.
const mostAnswer = 64 << 20

// admin calls the admin API of the process on conf's data directory.
func admin(ctx context.Context, conf config.Config, method, path string, ask, into any) error {
	file, err := app.ReadAdmin(conf.DataDir)
	if err != nil {
		return fmt.Errorf("no process seems to run on %s (its %s cannot be read): %w", conf.DataDir, app.AdminFile, err)
	}
	var body io.Reader
	if ask != nil {
		b, err := json.Marshal(ask)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, file.URL+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+file.Token)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("the process on %s does not answer: %w", conf.DataDir, err)
	}
	defer func() { _ = res.Body.Close() }() // read only
	b, err := io.ReadAll(io.LimitReader(res.Body, mostAnswer))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if res.StatusCode == http.StatusNoContent {
		return nil
	}
	if res.StatusCode != http.StatusOK {
		var p contracts.Problem
		if json.Unmarshal(b, &p) != nil {
			return fmt.Errorf("the process answered %s", res.Status)
		}
		return fmt.Errorf("%s (%s, request %s)", p.Detail, p.Code, p.RequestID)
	}
	return json.Unmarshal(b, into)
}

func printLine(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

type configCmd struct {
	Show      configShowCmd      `cmd:"" help:"Print the effective configuration; secrets are masked."`
	Check     configCheckCmd     `cmd:"" help:"Check the configuration and say what is wrong, with file and line."`
	Reference configReferenceCmd `cmd:"" help:"Print every setting with its default and environment variable."`
}

type configShowCmd struct {
	Format string `enum:"yaml,json" default:"yaml" help:"yaml or json."`
}

// Run prints what the process would run with.
func (s *configShowCmd) Run(c *cli, out *console) error {
	conf, err := flags{}.load(c)
	if err != nil {
		return err
	}
	return conf.Show(out.out, s.Format)
}

type configCheckCmd struct{}

// Run only loads.
func (configCheckCmd) Run(c *cli, out *console) error {
	if _, err := (flags{}).load(c); err != nil {
		return err
	}
	fmt.Fprintln(out.out, "the configuration is in order")
	return nil
}

type versionCmd struct{}

// Run prints the version and what it was built with.
func (versionCmd) Run(out *console) error {
	info, _ := debug.ReadBuildInfo()
	goVersion := "unknown"
	if info != nil {
		goVersion = info.GoVersion
	}
	fmt.Fprintf(out.out, "moltbot %s (%s)\n", version(), goVersion)
	return nil
}

// release is the version that the builder of an image names, with
// -ldflags "-X main.release=v1.2.3". Nothing else writes it.
var release string

// version is the release, the module version, or the commit of a build from source.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "devel-" + s.Value[:min(12, len(s.Value))]
		}
	}
	return "devel"
}
