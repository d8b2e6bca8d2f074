package embedded

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
)

const (
	readyWait   = 10 * time.Second
	loadingWait = 5 * time.Minute // reading a large append-only file back

	quickDeath  = 10 * time.Second // a child that lived longer was not born ill
	maxDeaths   = 5                // quick deaths in a row before we give up
	firstPause  = 100 * time.Millisecond
	longestWait = 5 * time.Second
)

// child keeps one redis-server running beside us.
type child struct {
	bin, dir, socket, logPath string
	args                      []string
	log                       zerolog.Logger

	stop func() // no more restarts, and SIGTERM
	kill func() // no more patience
	done chan struct{}
	// Both are written before done is closed.
	gaveUp, closing error
}

func startChild(ctx context.Context, opts RedisOptions, bin string) (*Redis, error) {
	socket, err := socketPath(opts.Dir)
	if err != nil {
		return nil, err
	}
	c := &child{
		bin: bin, dir: opts.Dir, socket: socket,
		logPath: filepath.Join(opts.Dir, "redis.log"),
		args:    childArgs(opts, socket),
		log:     opts.Log,
		done:    make(chan struct{}),
	}
	if err := retireOrphan(ctx, socket); err != nil {
		return nil, err
	}
	p, err := c.launch(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.adoptSnapshot(ctx); err != nil {
		return nil, errors.Join(err, p.stop(context.WithoutCancel(ctx)))
	}
	c.watch(p)
	return &Redis{url: c.url(), kind: version(ctx, bin), engine: c}, nil
}

func childArgs(opts RedisOptions, socket string) []string {
	fsync := "always"
	if opts.Durability == DurabilityOS {
		fsync = "everysec"
	}
	return []string{
		"--port", "0", "--unixsocket", socket, "--unixsocketperm", "700",
		"--dir", opts.Dir, "--daemonize", "no", "--save", "",
		"--appendonly", "yes", "--appendfsync", fsync, "--maxmemory-policy", "noeviction",
	}
}

func (c *child) url() string {
	u := url.URL{Scheme: "unix", Path: c.socket, RawQuery: "db=0"}
	return u.String()
}

// Done is closed when the child is gone for good.
func (c *child) Done() <-chan struct{} { return c.done }

// Err says why the child was given up.
func (c *child) Err() error {
	select {
	case <-c.done:
		return c.gaveUp
	default:
		return nil
	}
}

// Close stops the child and waits for its end.
func (c *child) Close(ctx context.Context) error {
	c.stop()
	defer context.AfterFunc(ctx, c.kill)()
	<-c.done
	c.kill()
	if c.closing != nil {
		return fmt.Errorf("stop redis: %w", c.closing)
	}
	return nil
}

// launch starts the child and returns once it answers.
func (c *child) launch(ctx context.Context) (*process, error) {
	logFile, offset, err := openLog(c.logPath)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(c.bin, c.args...)
	cmd.Dir = c.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"} // our secrets are not for it
	cmd.Stdout, cmd.Stderr = logFile, logFile
	p, err := startProcess(cmd)
	if err := errors.Join(err, logFile.Close()); err != nil {
		return nil, err
	}
	if err := c.awaitReady(ctx, p); err != nil {
		failed := fmt.Errorf("start %s: %w; its last lines: %s", c.bin, err, lastLines(c.logPath, offset))
		return nil, errors.Join(failed, p.stop(context.WithoutCancel(ctx)))
	}
	return p, nil
}

// awaitReady polls until the child answers. A child that is reading its data
// back gets far longer than one that says nothing.
func (c *child) awaitReady(ctx context.Context, p *process) error {
	born, wait := time.Now(), readyWait
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for time.Since(born) < wait {
		answer, err := ask(ctx, c.socket, "PING")
		switch {
		case err == nil && answer == "+PONG":
			return nil
		case strings.HasPrefix(answer, "-LOADING"):
			wait = loadingWait
		}
		select {
		case <-p.done:
			return fmt.Errorf("it died: %w", endOf(p))
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return fmt.Errorf("no answer within %s", wait)
}

// watch keeps the child alive in the background until Close.
func (c *child) watch(p *process) {
	running, stop := context.WithCancel(context.Background())
	patience, kill := context.WithCancel(context.Background())
	c.stop, c.kill = stop, kill
	go func() {
		defer close(c.done)
		if p := c.keepAlive(running, p); p != nil {
			c.closing = p.stop(patience)
		}
		c.closing = errors.Join(c.closing, c.dropSocketDir())
	}()
}

// keepAlive restarts the child whenever it dies. It returns the living child
// once ctx ends, or nil when there is none.
func (c *child) keepAlive(ctx context.Context, p *process) *process {
	deaths := 0
	for p != nil {
		born := time.Now()
		select {
		case <-ctx.Done():
			return p
		case <-p.done:
		}
		if time.Since(born) > quickDeath {
			deaths = 0
		}
		cause := errors.Join(endOf(p), p.killGroup())
		p, deaths = c.revive(ctx, cause, deaths)
	}
	return nil
}

// revive starts the child anew until it answers, ctx ends, or it has died too
// often. It returns the new child and the count of quick deaths so far.
func (c *child) revive(ctx context.Context, cause error, deaths int) (*process, int) {
	for {
		deaths++
		if deaths >= maxDeaths {
			c.gaveUp = fmt.Errorf("redis died %d times in a row: %w", deaths, cause)
			return nil, deaths
		}
		pause := min(firstPause<<(deaths-1), longestWait)
		c.log.Warn().Err(cause).Dur("pause", pause).Int("deaths", deaths).Msg("redis died and is restarted")
		select {
		case <-ctx.Done():
			return nil, deaths
		case <-time.After(pause):
		}
		p, err := c.launch(ctx)
		if err == nil {
			return p, deaths
		}
		if ctx.Err() != nil {
			return nil, deaths
		}
		cause = err
	}
}

// endOf says how p ended. A Redis that exits cleanly without being asked is
// as dead as one that crashed.
func endOf(p *process) error {
	if p.err == nil {
		return errors.New("exit status 0")
	}
	return p.err
}

// adoptSnapshot brings the stand-in's data into the real server when one was
// installed since, then sets the snapshot aside. Nobody else knows the socket
// yet, so a second try after a crash overwrites nothing that is newer.
func (c *child) adoptSnapshot(ctx context.Context) error {
	path := filepath.Join(c.dir, snapshotName)
	saved, err := readSnapshot(path)
	if err != nil || saved == nil {
		return err
	}
	rdb := redis.NewClient(&redis.Options{Network: "unix", Addr: c.socket, Protocol: 2, DisableIdentity: true})
	err = errors.Join(restore(ctx, rdb, saved.entries, time.Now()), rdb.Close())
	if err != nil {
		return fmt.Errorf("bring %s into %s: %w", path, c.bin, err)
	}
	if err := os.Rename(path, path+".imported"); err != nil {
		return fmt.Errorf("set snapshot aside: %w", err)
	}
	c.log.Info().Int("keys", len(saved.entries)).Msg("snapshot of the stand-in brought into redis")
	return nil
}

// dropSocketDir removes the directory that socketPath made, if it did.
func (c *child) dropSocketDir() error {
	dir := filepath.Dir(c.socket)
	if dir == c.dir {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove socket directory: %w", err)
	}
	return nil
}
