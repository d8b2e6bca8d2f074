package scheduler

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"moltbot/contracts"
)

func TestMain(m *testing.M) {
	if os.Getenv(childSocket) != "" {
		runChild()
		return
	}
	goleak.VerifyTestMain(m)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// patience is for what should happen at once, on a machine that is busy.
const patience = 20 * time.Second

// eventually looks until what becomes true.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !is(); {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
		<-tick.C
	}
}

// receive waits for a value of c.
func receive[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("not within %s: %s", patience, what)
		panic("unreachable")
	}
}

// eachRedis runs f with a client of each kind of Redis that we run on.
func eachRedis(t *testing.T, f func(t *testing.T, rdb redis.UniversalClient)) {
	t.Helper()
	t.Run("miniredis", func(t *testing.T) { t.Parallel(); f(t, miniRedis(t)) })
	t.Run("redis", func(t *testing.T) { t.Parallel(); f(t, startRedis(t).client(t)) })
}

// miniRedis gives a client of a miniredis whose clock runs.
func miniRedis(t testing.TB) redis.UniversalClient {
	t.Helper()
	m := miniredis.RunT(t)
	ctx, stop := context.WithCancel(context.Background())
	var clock sync.WaitGroup
	clock.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for last := time.Now(); ; {
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
	return open(t, &redis.Options{Addr: m.Addr()})
}

func open(t testing.TB, o *redis.Options) redis.UniversalClient {
	t.Helper()
	o.ContextTimeoutEnabled, o.MaxRetries, o.DialerRetries = true, 1, 1
	rdb := redis.NewClient(o)
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// server is a redis-server child.
type server struct {
	dir  string
	args []string
	cmd  *exec.Cmd
}

// startRedis starts a redis-server on a socket of its own. Without one on PATH
// the test is skipped; in CI that is a failure.
func startRedis(t testing.TB) *server {
	t.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no redis-server on PATH, and CI must not skip this")
		}
		t.Skip("no redis-server on PATH")
	}
	dir, err := os.MkdirTemp("", "redis") // short: a socket's path is limited
	must(t, err)
	s := &server{dir: dir}
	t.Cleanup(func() { s.kill(); _ = os.RemoveAll(dir) })
	s.args = []string{bin, "--port", "0", "--unixsocket", s.socket(), "--dir", dir, "--save", "", "--appendonly", "no"}
	s.start(t)
	return s
}

func (s *server) start(t testing.TB) {
	t.Helper()
	s.cmd = exec.Command(s.args[0], s.args[1:]...)
	must(t, s.cmd.Start())
	eventually(t, "redis-server answers", s.answers)
}

func (s *server) socket() string { return filepath.Join(s.dir, "s") }

func (s *server) answers() bool {
	c, err := net.Dial("unix", s.socket())
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

func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
}

func (s *server) client(t testing.TB) redis.UniversalClient {
	t.Helper()
	return open(t, &redis.Options{Network: "unix", Addr: s.socket()})
}

const (
	taskWork contracts.TaskType = "work"
	taskTick contracts.TaskType = "tick"
)

// quick are options of a scheduler that does not make a test wait.
func quick(rdb redis.UniversalClient, handlers map[contracts.TaskType]Handler) Options {
	return Options{
		Redis: rdb, Handlers: handlers, Log: zerolog.Nop(), SoftStop: patience,
		RetryBase: 10 * time.Millisecond, RetryMax: 20 * time.Millisecond, Poll: 10 * time.Millisecond, Forward: 10 * time.Millisecond,
	}
}

// started is a scheduler that runs until stop, which may be called twice.
type started struct {
	*Scheduler
	stop func()
}

func start(t *testing.T, o Options) started {
	t.Helper()
	s, err := New(o)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		must(t, receive(t, "the scheduler stops", ended))
	})
	t.Cleanup(stop)
	eventually(t, "the scheduler is ready", func() bool { return s.Ready(t.Context()) == nil })
	return started{s, stop}
}

// job is a task named id.
func job(id string) Job {
	return Job{
		Type: taskWork, Queue: contracts.QueueChores, Payload: []byte(id),
		ID: func(try int) string { return id + ":" + string(rune('0'+try)) },
	}
}

// info gives the state of a task, and nil where there is none.
func info(t testing.TB, rdb redis.UniversalClient, queue, id string) *asynq.TaskInfo {
	t.Helper()
	i, err := asynq.NewInspectorFromRedisClient(rdb).GetTaskInfo(queue, id)
	if err != nil {
		return nil
	}
	return i
}

// in waits until a task is in a state.
func in(t testing.TB, rdb redis.UniversalClient, id string, state asynq.TaskState) *asynq.TaskInfo {
	t.Helper()
	var i *asynq.TaskInfo
	eventually(t, id+" is "+state.String(), func() bool {
		i = info(t, rdb, contracts.QueueChores, id)
		return i != nil && i.State == state
	})
	return i
}

// lines is a log that a test reads.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lines) log() zerolog.Logger { return zerolog.New(l) }
