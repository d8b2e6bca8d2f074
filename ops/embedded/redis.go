package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rs/zerolog"
)

// The values of RedisOptions.Durability.
const (
	DurabilityFsync = "fsync" // on disk before the answer
	DurabilityOS    = "os"    // on disk within about a second
)

const (
	snapshotName = "redis.snapshot" // the stand-in's data
	aofName      = "appendonlydir"  // redis-server's data
)

// RedisOptions says where Redis keeps its data and how hard.
type RedisOptions struct {
	// Dir holds the data, the socket and the log. Required. One process at a
	// time: see Lock.
	Dir string
	// Durability is DurabilityFsync or DurabilityOS. The stand-in knows only
	// its snapshot, whatever is asked for. Default: DurabilityFsync.
	Durability string
	// PathLookup finds a program. Default: exec.LookPath.
	PathLookup func(string) (string, error)
	// Log gets restarts and failed snapshots. The zero value discards them.
	Log zerolog.Logger
}

func (o RedisOptions) withDefaults() (RedisOptions, error) {
	if o.Durability == "" {
		o.Durability = DurabilityFsync
	}
	if o.PathLookup == nil {
		o.PathLookup = exec.LookPath
	}
	var errs []error
	if o.Durability != DurabilityFsync && o.Durability != DurabilityOS {
		errs = append(errs, fmt.Errorf("durability %q: want %q or %q", o.Durability, DurabilityFsync, DurabilityOS))
	}
	dir, err := privateDir(o.Dir)
	o.Dir = dir
	return o, errors.Join(append(errs, err)...)
}

// engine is what the child and the stand-in have in common.
type engine interface {
	Done() <-chan struct{}
	Err() error
	Close(ctx context.Context) error
}

// Redis is a running Redis that belongs to this process.
type Redis struct {
	url, kind, warning string
	engine             engine
}

// URL is what go-redis ParseURL takes. It can hold a password: never log it.
func (r *Redis) URL() string { return r.url }

// Kind names the engine, such as "redis-server 7.0.15" or "embedded stand-in".
func (r *Redis) Kind() string { return r.kind }

// Warning is a line for the operator, empty where there is nothing to say.
func (r *Redis) Warning() string { return r.warning }

// Done is closed when Redis is gone for good: closed, or given up.
func (r *Redis) Done() <-chan struct{} { return r.engine.Done() }

// Err says why Redis was given up. It is nil until Done, and after Close.
func (r *Redis) Err() error { return r.engine.Err() }

// Close stops Redis with its data on disk. When ctx ends first, the child is
// killed: what it acknowledged is in its append-only file all the same.
func (r *Redis) Close(ctx context.Context) error { return r.engine.Close(ctx) }

// StartRedis starts valkey-server or redis-server from PATH, or else the
// stand-in, and returns once it answers. ctx bounds the start only.
func StartRedis(ctx context.Context, opts RedisOptions) (*Redis, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("redis options: %w", err)
	}
	for _, name := range []string{"valkey-server", "redis-server"} {
		if bin, err := opts.PathLookup(name); err == nil {
			return startChild(ctx, opts, bin)
		}
	}
	if err := refuseForeignData(opts.Dir); err != nil {
		return nil, err
	}
	return startStandIn(ctx, opts)
}

// refuseForeignData keeps the stand-in from starting empty beside data that
// only a real server can read.
func refuseForeignData(dir string) error {
	aof := filepath.Join(dir, aofName)
	switch _, err := os.Stat(aof); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look for redis data: %w", err)
	}
	return fmt.Errorf("%s holds the data of a redis-server, but none is on PATH; "+
		"install it, or move that directory away to start empty", aof)
}

// version asks the program; a program that does not say still has its name.
func version(ctx context.Context, bin string) string {
	name := filepath.Base(bin)
	out, err := exec.CommandContext(ctx, bin, "--version").Output()
	if err != nil {
		return name
	}
	for field := range strings.FieldsSeq(string(out)) {
		if v, found := strings.CutPrefix(field, "v="); found {
			return name + " " + v
		}
	}
	return name
}
