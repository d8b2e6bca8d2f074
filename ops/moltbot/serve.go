package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"moltbot/ops/app"
	"moltbot/ops/config"
	"moltbot/ops/observe"
)

// flags are the settings that the command line may override.
type flags struct {
	DataDir    string `name:"data-dir" placeholder:"DIR" help:"Where keys, streams and conversations are kept."`
	Listen     string `placeholder:"ADDR" help:"Address of the HTTP API (default 127.0.0.1:18789)."`
	Durability string `placeholder:"fsync|os" help:"When a message counts as stored."`
	RateLimit  string `name:"rate-limit" placeholder:"10/20|off" help:"Requests per second and burst of one caller."`
	Slots      int    `help:"Messages worked on at the same time."`
	LogLevel   string `name:"log-level" placeholder:"LEVEL" help:"trace, debug, info, warn or error."`
	LogFormat  string `name:"log-format" placeholder:"FORM" help:"json, console or auto."`
}

// load reads the configuration and lets the command line win.
func (f flags) load(c *cli) (config.Config, error) {
	conf, err := config.Load(c.File, environ())
	if err != nil {
		return conf, err
	}
	set(&conf.DataDir, f.DataDir)
	set(&conf.Listen, f.Listen)
	set(&conf.Durability, f.Durability)
	set(&conf.HTTP.RateLimit, f.RateLimit)
	set(&conf.Log.Level, f.LogLevel)
	set(&conf.Log.Format, f.LogFormat)
	if f.Slots > 0 {
		conf.Workers.Slots = f.Slots
	}
	return conf, conf.Validate()
}

// sources are the files that the configuration was read from.
func sources(c *cli, conf config.Config) []string {
	return slices.DeleteFunc([]string{c.File, conf.Model.File}, func(name string) bool { return name == "" })
}

func set(to *string, from string) {
	if from != "" {
		*to = from
	}
}

// environ is the environment without the variables that are no settings: the
// name of the file itself, and the key of a bench.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "MOLTBOT_CONFIG=") || strings.HasPrefix(kv, benchKey+"=")
	})
}

type upCmd struct {
	flags
	profiled
}

// startWait bounds how long "up" waits for its own parts.
const startWait = 30 * time.Second

// Run starts everything, says how to use it, and runs until a signal.
func (u *upCmd) Run(ctx context.Context, c *cli, out *console) error {
	conf, err := u.load(c)
	if err != nil {
		return err
	}
	u.profile(ctx, out)
	began := time.Now()
	a, err := app.New(ctx, app.Options{
		Config: conf, Roles: app.Roles(), Embedded: true, Version: version(),
		Reload: func() (config.Config, error) { return u.load(c) }, Files: sources(c, conf),
		Log: takeRedisLog(observe.New(observe.Options{Writer: out.err, Level: conf.Log.Level, Format: conf.Log.Format})),
	})
	if err != nil {
		return err
	}
	return runWith(ctx, a, func() error { return greet(out, a, conf, time.Since(began)) })
}

// runWith runs a and calls ready once it is.
func runWith(ctx context.Context, a *app.App, ready func() error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	select {
	case err := <-done:
		return err
	case <-a.Ready():
	case <-time.After(startWait):
		stop()
		return errors.Join(fmt.Errorf("not ready within %s; the log says what it waited for", startWait), <-done)
	}
	if err := ready(); err != nil {
		stop()
		<-done
		return err
	}
	return <-done
}

func greet(out *console, a *app.App, conf config.Config, took time.Duration) error {
	token, err := a.Token("owner", 365, "chat")
	if err != nil {
		return fmt.Errorf("make a token: %w", err)
	}
	kind, warning := a.Store()
	fmt.Fprintf(out.out, "\nmoltbot %s is ready on http://%s (%d ms)\n", version(), a.Address(), took.Milliseconds())
	fmt.Fprintf(out.out, "  data   %s   store  %s   model  %s\n", conf.DataDir, kind, conf.Model.First().Provider)
	if warning != "" {
		fmt.Fprintf(out.out, "  note   %s\n", warning)
	}
	for _, c := range a.Channels() {
		fmt.Fprintf(out.out, "  %s   %s\n", c.Name, c.How)
	}
	if conf.Model.First().Demo {
		fmt.Fprintln(out.out, "  note   the demo model answers; name a real one with model_provider, endpoint and api_key in the configuration")
	}
	fmt.Fprintf(out.out, "\ntoken (365 days, user \"owner\"):\n%s\n\ntry it:\ncurl -sS http://%s/api/chat -H \"Content-Type: application/json\" -d '{\"message\":\"hello\",\"session_id\":\"first\",\"token\":\"%s\"}'\n\n",
		token, reachable(a.Address()), token)
	return nil
}

// reachable turns "all addresses" into one that a client on this machine can use.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return address
}

type serveCmd struct {
	Role string `arg:"" enum:"ingress,workers,scheduler,all" help:"ingress, workers, scheduler or all."`
	flags
}

// Run runs the role until a signal.
func (s *serveCmd) Run(ctx context.Context, c *cli, out *console) error {
	conf, err := s.load(c)
	if err != nil {
		return err
	}
	roles := []string{s.Role}
	if s.Role == "all" {
		roles = app.Roles()
	}
	a, err := app.New(ctx, app.Options{
		Config: conf, Roles: roles, Version: version(),
		Reload: func() (config.Config, error) { return s.load(c) }, Files: sources(c, conf),
		Log: takeRedisLog(observe.New(observe.Options{Writer: out.err, Level: conf.Log.Level, Format: conf.Log.Format, Role: s.Role})),
	})
	if err != nil {
		return err
	}
	return a.Run(ctx)
}
