package workerstest

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// EachRedis runs f with a client of each kind of Redis that we run on.
func EachRedis(t *testing.T, f func(t *testing.T, rdb redis.UniversalClient)) {
	t.Helper()
	t.Run("miniredis", func(t *testing.T) { f(t, MiniRedis(t)) })
	t.Run("redis", func(t *testing.T) { f(t, StartRedis(t).Client(t)) })
}

// MiniRedis gives a client of a miniredis whose clock runs.
func MiniRedis(t testing.TB) *redis.Client {
	t.Helper()
	m := miniredis.RunT(t)
	ctx, stop := context.WithCancel(context.Background())
	var clock sync.WaitGroup
	clock.Go(func() {
		const step = 5 * time.Millisecond
		tick := time.NewTicker(step)
		defer tick.Stop()
		last := time.Now()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				m.FastForward(now.Sub(last))
				last = now
			}
		}
	})
	t.Cleanup(func() { stop(); clock.Wait() })
	rdb := redis.NewClient(&redis.Options{Addr: m.Addr(), PoolSize: 64})
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// Redis is a redis-server child that can be killed and started again; what it
// acknowledged survives that.
type Redis struct {
	bin, dir string
	cmd      *exec.Cmd
}

// StartRedis starts a redis-server on a socket of its own. Without one on PATH
// the test is skipped; in CI that is a failure.
func StartRedis(t testing.TB) *Redis {
	t.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no redis-server on PATH, and CI must not skip this")
		}
		t.Skip("no redis-server on PATH")
	}
	dir, err := os.MkdirTemp("", "redis") // short: a socket's path is limited
	Must(t, err)
	r := &Redis{bin: bin, dir: dir}
	t.Cleanup(func() {
		r.Kill()
		_ = os.RemoveAll(dir)
	})
	r.Start(t)
	return r
}

// Start starts the child and waits until it answers.
func (r *Redis) Start(t testing.TB) {
	t.Helper()
	r.begin(t)
	Eventually(t, "redis-server answers", r.answers)
}

func (r *Redis) begin(t testing.TB, more ...string) {
	t.Helper()
	r.cmd = exec.Command(r.bin, append([]string{"--port", "0", "--unixsocket", r.socket(), "--dir", r.dir,
		"--save", "", "--appendonly", "yes", "--appendfsync", "no", "--maxmemory-policy", "noeviction"}, more...)...)
	Must(t, r.cmd.Start())
}

// answers asks by hand: a client would log every attempt.
func (r *Redis) answers() bool {
	c, err := net.Dial("unix", r.socket())
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }() // read only
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	return err == nil && line == "+PONG\r\n"
}

// Kill ends the child without warning.
func (r *Redis) Kill() {
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
	r.cmd = nil
}

// Client gives a client that ends with the test. It gives up on a dead server soon.
func (r *Redis) Client(t testing.TB) *redis.Client {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{
		Network: "unix", Addr: r.socket(), PoolSize: 64, MaxRetries: 1, DialerRetries: 1,
	})
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

func (r *Redis) socket() string { return filepath.Join(r.dir, "s") }
