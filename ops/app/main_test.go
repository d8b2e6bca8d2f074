package app

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"moltbot/ops/config"
	"moltbot/workers/workerstest"
)

const (
	patience = 30 * time.Second
	canary   = "c4narY" // a secret that no text may show
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var must, eventually = workerstest.Must, workerstest.Eventually

// await waits for an event.
func await[T any](t testing.TB, what string, c <-chan T) T { return workerstest.Await(t, what, c) }

func isRefusal(err error) bool {
	var r refusal
	return errors.As(err, &r)
}

// refused expects a refusal whose text holds every want.
func refused(t *testing.T, err error, wants ...string) {
	t.Helper()
	if !isRefusal(err) {
		t.Fatalf("error = %v, want a refusal", err)
	}
	hasText(t, err.Error(), wants...)
}

// waits expects an error that the next try may not have.
func waits(t *testing.T, err error, wants ...string) {
	t.Helper()
	if err == nil || isRefusal(err) {
		t.Fatalf("error = %v (refusal: %v), want one to wait for", err, isRefusal(err))
	}
	hasText(t, err.Error(), wants...)
}

func hasText(t *testing.T, text string, wants ...string) {
	t.Helper()
	if strings.Contains(text, canary) {
		t.Errorf("a secret is shown: %s", text)
	}
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in: %s", want, text)
		}
	}
}

// book keeps log lines.
type book struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *book) log() zerolog.Logger { return zerolog.New(b) }

func (b *book) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// errorsOf gives the error field of each line with this message.
func (b *book) errorsOf(t *testing.T, message string) (out []string) {
	t.Helper()
	for line := range strings.Lines(b.String()) {
		var l struct{ Message, Error string }
		must(t, json.Unmarshal([]byte(line), &l))
		if l.Message == message {
			out = append(out, l.Error)
		}
	}
	return out
}

// settings are the defaults on a directory and ports of the test's own.
func settings(t *testing.T) config.Config {
	t.Helper()
	c := config.Default()
	c.Listen, c.Metrics.Listen, c.DataDir = "127.0.0.1:0", "127.0.0.1:0", t.TempDir()
	c.Durability = "os" // faster; what fsync asks for has tests of its own
	return c
}

func noServer(string) (string, error) { return "", exec.ErrNotFound }

// startRedis gives the address of a redis-server of the test's own. Without one
// on PATH the test is skipped; in CI that is a failure.
func startRedis(t *testing.T, args ...string) string {
	t.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no redis-server on PATH, and CI must not skip this")
		}
		t.Skip("no redis-server on PATH")
	}
	dir, err := os.MkdirTemp("", "app") // short: a socket's path is limited
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	cmd := exec.Command(bin, append([]string{"--port", "0", "--unixsocket", socket, "--dir", dir, "--save", ""}, args...)...)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	eventually(t, "redis-server answers", func() bool {
		c, err := net.Dial("unix", socket)
		if err != nil {
			return false
		}
		defer func() { _ = c.Close() }() // read only
		if _, err := c.Write([]byte("PING\r\n")); err != nil {
			return false
		}
		line, err := bufio.NewReader(c).ReadString('\n')
		return err == nil && (line == "+PONG\r\n" || strings.HasPrefix(line, "-NOAUTH"))
	})
	return "unix://" + socket
}
