package workerstest

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Fault is a bad day of a redis-server that loses nothing.
type Fault struct {
	Begin, End func(t testing.TB)
	// Pings says that it answers a PING nevertheless.
	Pings bool
}

// Faults gives, by name, what a redis-server can do to those who use it. Each is
// the real thing, made by the server itself.
func (r *Redis) Faults(t testing.TB) map[string]Fault {
	t.Helper()
	ask := r.Client(t)
	do := func(args ...any) func(testing.TB) {
		return func(t testing.TB) {
			t.Helper()
			Must(t, ask.Do(context.Background(), args...).Err())
		}
	}
	stopped := func(s syscall.Signal) func(testing.TB) {
		return func(t testing.TB) { t.Helper(); Must(t, r.cmd.Process.Signal(s)) }
	}
	return map[string]Fault{
		"out of memory": {Begin: do("config", "set", "maxmemory", "1"), End: do("config", "set", "maxmemory", "0"), Pings: true},
		"READONLY":      {Begin: do("replicaof", "127.0.0.1", "1"), End: do("replicaof", "no", "one"), Pings: true},
		"MISCONF":       {Begin: func(t testing.TB) { t.Helper(); r.cannotSave(t, ask) }, End: do("config", "set", "save", "")},
		"BUSY":          {Begin: func(t testing.TB) { t.Helper(); r.busy(t) }, End: do("script", "kill")},
		"LOADING":       {Begin: func(t testing.TB) { t.Helper(); r.loads(t, ask) }, End: func(t testing.TB) { t.Helper(); r.loaded(t, ask) }},
		"slow":          {Begin: stopped(syscall.SIGSTOP), End: stopped(syscall.SIGCONT)},
		"killed":        {Begin: func(testing.TB) { r.Kill() }, End: func(t testing.TB) { t.Helper(); r.Start(t) }},
	}
}

// cannotSave puts a directory where the snapshot belongs: after a snapshot that
// failed, the server takes no writes.
func (r *Redis) cannotSave(t testing.TB, rdb *redis.Client) {
	t.Helper()
	ctx := context.Background()
	Must(t, os.MkdirAll(filepath.Join(r.dir, "dump.rdb", "in the way"), 0o700))
	Must(t, rdb.ConfigSet(ctx, "save", "3600 1000000").Err())
	Must(t, rdb.BgSave(ctx).Err())
	Eventually(t, "it takes no writes", func() bool { return rdb.Ping(ctx).Err() != nil })
}

// busy lets it run a script that does not end.
func (r *Redis) busy(t testing.TB) {
	t.Helper()
	o := *r.Client(t).Options()
	o.MaxRetries = -1
	rdb := redis.NewClient(&o)
	t.Cleanup(func() { _ = rdb.Close() })
	ctx := context.Background()
	Must(t, rdb.ConfigSet(ctx, "busy-reply-threshold", "20").Err())
	go rdb.Eval(ctx, "while true do end", nil) //nolint:errcheck // it ends when it is killed
	Eventually(t, "it is busy", func() bool { return rdb.Ping(ctx).Err() != nil })
}

// loads kills it and starts it again with data that takes it seconds to load.
func (r *Redis) loads(t testing.TB, rdb *redis.Client) {
	t.Helper()
	ctx := context.Background()
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range 4 * loadStep {
			p.Set(ctx, "fill:"+string(rune('a'+i%26)), i, time.Hour)
		}
		return nil
	})
	Must(t, err)
	r.Kill()
	r.begin(t, "--key-load-delay", "200") // of each, in µs
	Eventually(t, "it loads", func() bool {
		err := rdb.Ping(ctx).Err()
		return err != nil && len(err.Error()) > 7 && err.Error()[:7] == "LOADING"
	})
}

// loadStep is after how many commands a server that loads looks at its clients.
const loadStep = 1024

func (r *Redis) loaded(t testing.TB, rdb *redis.Client) {
	t.Helper()
	Eventually(t, "it has loaded", func() bool { return rdb.Ping(context.Background()).Err() == nil })
	Must(t, rdb.ConfigSet(context.Background(), "key-load-delay", "0").Err())
}
