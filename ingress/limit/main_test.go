package limit_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"moltbot/contracts"
	"moltbot/ingress/limit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patient is how long a test waits for what must happen.
const patient = 10 * time.Second

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func namer(t testing.TB) *contracts.Namer {
	t.Helper()
	n, err := contracts.NewNamer(make([]byte, 32))
	must(t, err)
	return n
}

func newLimiter(t testing.TB, o limit.Options) *limit.Limiter {
	t.Helper()
	o.Namer = namer(t)
	if o.Timeout == 0 {
		o.Timeout = patient // a busy machine is no broken Redis
	}
	l, err := limit.New(o)
	must(t, err)
	return l
}

func take(t testing.TB, l *limit.Limiter, name string, rate contracts.Rate) limit.Decision {
	t.Helper()
	d, err := l.Take(t.Context(), name, rate)
	if err != nil {
		t.Fatalf("take: %v", err)
	}
	return d
}

func rate(t testing.TB, text string) contracts.Rate {
	t.Helper()
	r, err := contracts.ParseRate(text)
	must(t, err)
	return r
}

// eachRedis runs f with a client of each kind of Redis that we run on.
func eachRedis(t *testing.T, f func(t *testing.T, rdb *redis.Client)) {
	t.Helper()
	t.Run("miniredis", func(t *testing.T) { f(t, client(t, &redis.Options{Addr: miniredis.RunT(t).Addr()})) })
	t.Run("redis", func(t *testing.T) { f(t, startServer(t).client(t)) })
}

func client(t testing.TB, o *redis.Options) *redis.Client {
	t.Helper()
	o.PoolSize, o.MaxRetries, o.DialerRetries = 16, -1, 1
	rdb := redis.NewClient(o)
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// server is a redis-server that can be killed and started again.
type server struct {
	bin, dir string
	cmd      *exec.Cmd
}

// startServer starts one. Without a redis-server on PATH the test is skipped;
// in CI that is a failure.
func startServer(t testing.TB) *server {
	t.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no redis-server on PATH, and CI must not skip this")
		}
		t.Skip("no redis-server on PATH")
	}
	dir, err := os.MkdirTemp("", "limit") // short: a socket's path is limited
	must(t, err)
	s := &server{bin: bin, dir: dir}
	t.Cleanup(func() { s.kill(); _ = os.RemoveAll(dir) })
	s.start(t)
	return s
}

func (s *server) start(t testing.TB) {
	t.Helper()
	s.cmd = exec.Command(s.bin, "--port", "0", "--unixsocket", s.socket(), "--dir", s.dir, "--save", "")
	must(t, s.cmd.Start())
	eventually(t, "redis-server answers", func() bool {
		c, err := net.Dial("unix", s.socket())
		if err != nil {
			return false
		}
		defer func() { _ = c.Close() }() // read only
		if _, err := c.Write([]byte("PING\r\n")); err != nil {
			return false
		}
		b := make([]byte, 7)
		n, err := c.Read(b)
		return err == nil && string(b[:n]) == "+PONG\r\n"
	})
}

func (s *server) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

func (s *server) socket() string { return filepath.Join(s.dir, "s") }

func (s *server) client(t testing.TB) *redis.Client {
	return client(t, &redis.Options{Network: "unix", Addr: s.socket()})
}

// eventually polls until ok, for what gives no signal of its own.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	over := time.After(patient)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-over:
			t.Fatalf("not in time: %s", what)
		case <-tick.C:
		}
	}
}

// wire stands between a client and its server: it counts the scripts that pass,
// and can hold them back whatever their context says, as a client without
// context time-outs does.
type wire struct {
	trips atomic.Int64
	mu    sync.Mutex
	hold  chan struct{} // nil: open
}

func (w *wire) DialHook(next redis.DialHook) redis.DialHook { return next }
func (w *wire) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (w *wire) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if strings.HasPrefix(cmd.Name(), "eval") {
			w.trips.Add(1)
			w.mu.Lock()
			hold := w.hold
			w.mu.Unlock()
			if hold != nil {
				<-hold
				ctx = context.WithoutCancel(ctx) // the answer comes, late
			}
		}
		return next(ctx, cmd)
	}
}

// block holds back what follows, until release.
func (w *wire) block() (release func()) {
	hold := make(chan struct{})
	w.mu.Lock()
	w.hold = hold
	w.mu.Unlock()
	return sync.OnceFunc(func() {
		w.mu.Lock()
		w.hold = nil
		w.mu.Unlock()
		close(hold)
	})
}

// watched puts a wire into rdb's way, with the script loaded before it counts.
func watched(t testing.TB, rdb *redis.Client) *wire {
	t.Helper()
	take(t, newLimiter(t, limit.Options{Redis: rdb}), "loads the script", rate(t, "1/1"))
	w := &wire{}
	rdb.AddHook(w)
	return w
}

// clock is moved by the test; with a miniredis it moves that one's too.
type clock struct {
	mu sync.Mutex
	t  time.Time
	m  *miniredis.Miniredis
}

func newClock(m *miniredis.Miniredis) *clock {
	c := &clock{t: time.Now(), m: m}
	c.move(0)
	return c
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
	if c.m != nil {
		c.m.SetTime(c.t)
	}
}

// logs is a log that several goroutines write.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) log() zerolog.Logger { return zerolog.New(l) }

func (l *logs) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}
