package observe

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/redis/go-redis/v9"
)

const (
	otherCommand   = "other"
	connectCommand = "connect" // what the client says on a new connection
)

// RedisHook times the commands of a Redis client. Its labels are the names of
// our scripts and of the commands we use, never keys.
type RedisHook struct {
	scripts map[string]*commandMetrics // by hash
	plain   map[string]*commandMetrics // by command
	other   *commandMetrics
	connect *commandMetrics
}

type commandMetrics struct {
	took   prometheus.Observer
	errors prometheus.Counter
}

// plainCommands are those we send beside the scripts.
func plainCommands() []string {
	return []string{"get", "set", "lrange", "hget", "pexpire", "exists", "mget", "ping", "eval"}
}

// NewRedisHook registers with reg. scripts names each script by its hash.
func NewRedisHook(reg prometheus.Registerer, scripts map[string]string) *RedisHook {
	with := promauto.With(reg)
	took := with.NewHistogramVec(prometheus.HistogramOpts{
		Name: "moltbot_redis_command_duration_seconds", Help: "Round trip of Redis commands, by script or command.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 3},
	}, []string{"command"})
	failed := with.NewCounterVec(prometheus.CounterOpts{
		Name: "moltbot_redis_errors_total", Help: "Redis commands that failed, by script or command.",
	}, []string{"command"})
	resolve := func(name string) *commandMetrics {
		return &commandMetrics{took.WithLabelValues(name), failed.WithLabelValues(name)}
	}
	h := &RedisHook{scripts: map[string]*commandMetrics{}, plain: map[string]*commandMetrics{}, other: resolve(otherCommand)}
	// A server that does not know a word of the client's greeting is no failure.
	h.connect = &commandMetrics{took: took.WithLabelValues(connectCommand)}
	for hash, name := range scripts {
		h.scripts[hash] = resolve(name)
	}
	for _, name := range plainCommands() {
		h.plain[name] = resolve(name)
	}
	return h
}

// DialHook leaves dialing alone.
func (h *RedisHook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		return next(ctx, network, address)
	}
}

// ProcessHook times one command.
func (h *RedisHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		began := time.Now()
		err := next(ctx, cmd)
		h.of(cmd).note(time.Since(began), err)
		return err
	}
}

// ProcessPipelineHook counts a pipeline's time for each of its commands, for each
// waits for all of it. The greeting of a connection is one.
func (h *RedisHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		began := time.Now()
		err := next(ctx, cmds)
		if len(cmds) > 0 && greeting(cmds[0].Name()) {
			cmds = cmds[:1]
		}
		took := time.Since(began)
		for _, cmd := range cmds {
			failed := err
			if err != nil { // of the first command that failed; the others may be well
				failed = cmd.Err()
			}
			h.of(cmd).note(took, failed)
		}
		return err
	}
}

func (h *RedisHook) of(cmd redis.Cmder) *commandMetrics {
	name := cmd.Name()
	if name == "evalsha" {
		if args := cmd.Args(); len(args) > 1 {
			if hash, ok := args[1].(string); ok && h.scripts[hash] != nil {
				return h.scripts[hash]
			}
		}
		return h.other
	}
	if greeting(name) {
		return h.connect
	}
	if c := h.plain[name]; c != nil {
		return c
	}
	return h.other
}

func greeting(command string) bool {
	return command == "hello" || command == "client" || command == "auth" || command == "select"
}

// note counts. No value, and a script that Redis has to be told first, are
// answers and not failures; so is a caller that gave up.
func (c *commandMetrics) note(took time.Duration, err error) {
	c.took.Observe(took.Seconds())
	if c.errors == nil || err == nil || errors.Is(err, redis.Nil) || errors.Is(err, context.Canceled) || strings.HasPrefix(err.Error(), "NOSCRIPT") {
		return
	}
	c.errors.Inc()
}

var _ redis.Hook = (*RedisHook)(nil)
