// Command moltbot is the whole product in one binary: everything on one machine
// with "up", the roles one by one with "serve", and the operator's commands. It
// turns the command line into options and errors into an exit code, no more.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// After the first signal the default handling is back, so that a second one
	// ends a drain that takes too long.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// cli is the command line.
type cli struct {
	File string `name:"config" short:"c" placeholder:"FILE" env:"MOLTBOT_CONFIG" help:"Configuration file (YAML). MOLTBOT_* variables override it."`

	Up      upCmd      `cmd:"" help:"Run everything on this machine: NATS embedded, Redis beside it."`
	Serve   serveCmd   `cmd:"" help:"Run one role against an outside NATS and Redis."`
	Token   tokenCmd   `cmd:"" help:"Make an access token."`
	Status  statusCmd  `cmd:"" help:"Show the state of the process that runs on this data directory."`
	Probe   probeCmd   `cmd:"" help:"Ask an address whether all is well, for health checks."`
	Workers workersCmd `cmd:"" help:"Show the processes that work, wherever they run."`
	Scale   scaleCmd   `cmd:"" help:"Change how many messages each process works on at a time."`
	Model   modelCmd   `cmd:"" help:"Show and change the models while everything runs."`
	Task    taskCmd    `cmd:"" help:"Show background tasks, run or retry one, or delete it."`
	Usage   usageCmd   `cmd:"" help:"Show what callers used of the models."`
	Cache   cacheCmd   `cmd:"" help:"Cached answers."`
	Dead    deadCmd    `cmd:"" help:"Messages and answers that were given up on: list, show, replay, drop."`
	Session sessionCmd `cmd:"" help:"Sessions of callers: list, show, erase."`
	Key     keyCmd     `cmd:"" help:"Key material."`
	Config  configCmd  `cmd:"" help:"Show or check the configuration."`
	Bench   benchCmd   `cmd:"" help:"Measure how fast this machine runs it."`
	Version versionCmd `cmd:"" help:"Print the version."`

	BenchFloor   benchFloorCmd   `cmd:"" hidden:""`
	BenchBackend benchBackendCmd `cmd:"" hidden:""`
	BenchModel   benchModelCmd   `cmd:"" hidden:""`
}

// console is where a command writes, and reads what it asks for.
type console struct {
	out, err io.Writer
	in       io.Reader
}

// exit carries the exit code that kong asks for (after --help) out of its parser.
type exit int

func run(ctx context.Context, args []string, out, errOut io.Writer) (code int) {
	return runOn(ctx, args, &console{out: out, err: errOut, in: os.Stdin})
}

func runOn(ctx context.Context, args []string, con *console) (code int) {
	out, errOut := con.out, con.err
	defer func() {
		switch p := recover().(type) {
		case nil:
		case exit:
			code = int(p)
		default:
			panic(p) // not ours to hide
		}
	}()
	var c cli
	parser, err := kong.New(&c, kong.Name("moltbot"), kong.Writers(out, errOut),
		kong.Description("A chat-bot back end over a durable message queue."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Exit(func(n int) { panic(exit(n)) }),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(con, &c))
	if err != nil {
		fmt.Fprintln(errOut, "moltbot:", err)
		return exitFailure
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(errOut, "moltbot: %v\ntry \"%s --help\"\n", err, understood(err))
		return exitUsage
	}
	if err := parsed.Run(); err != nil {
		fmt.Fprintln(errOut, "moltbot:", err)
		return exitFailure
	}
	return exitOK
}

// understood is the command that a wrong command line began with.
func understood(err error) string {
	words := []string{"moltbot"}
	var wrong *kong.ParseError
	if errors.As(err, &wrong) {
		for _, p := range wrong.Context.Path {
			if p.Command != nil {
				words = append(words, p.Command.Name)
			}
		}
	}
	return strings.Join(words, " ")
}
