package owner_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
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

// eachRedis runs f with a client of each kind of Redis that we run on. pass lets
// time pass on one that does not by itself.
func eachRedis(t *testing.T, f func(t *testing.T, rdb *redis.Client, pass func(time.Duration))) {
	t.Helper()
	t.Run("miniredis", func(t *testing.T) {
		m := miniredis.RunT(t)
		f(t, client(t, &redis.Options{Addr: m.Addr()}), m.FastForward)
	})
	t.Run("redis", func(t *testing.T) {
		f(t, client(t, &redis.Options{Network: "unix", Addr: startServer(t)}), func(time.Duration) {})
	})
}

func client(t testing.TB, o *redis.Options) *redis.Client {
	t.Helper()
	o.MaxRetries, o.DialerRetries = -1, 1
	rdb := redis.NewClient(o)
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// startServer starts a redis-server and gives its socket. Without one on PATH the
// test is skipped; in CI that is a failure.
func startServer(t testing.TB) string {
	t.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no redis-server on PATH, and CI must not skip this")
		}
		t.Skip("no redis-server on PATH")
	}
	dir, err := os.MkdirTemp("", "owner") // short: a socket's path is limited
	must(t, err)
	socket := filepath.Join(dir, "s")
	cmd := exec.Command(bin, "--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "")
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); _ = os.RemoveAll(dir) })
	eventually(t, "redis-server answers", func() bool {
		c, err := net.Dial("unix", socket)
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
	return socket
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
