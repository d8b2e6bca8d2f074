package embedded

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

const patience = 30 * time.Second

// The test binary also plays the other process. It says "ready ..." on its
// output and then lives until its input is closed.
const roleVariable = "EMBEDDED_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := play(role, os.Args[1]); err != nil {
			fmt.Println("failed", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func play(role, dir string) error {
	switch role {
	case "lock":
		lock, err := Lock(dir)
		if err != nil {
			return err
		}
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return lock.Unlock()
	case "redis":
		r, err := StartRedis(context.Background(), RedisOptions{Dir: dir})
		if err != nil {
			return err
		}
		fmt.Println("ready", r.URL())
		_, _ = io.Copy(io.Discard, os.Stdin)
		return r.Close(context.Background())
	}
	return fmt.Errorf("no role %q", role)
}

// actor is a second process playing a role.
type actor struct {
	cmd   *exec.Cmd
	stdin io.Closer
	said  string // after "ready"
}

func startActor(t *testing.T, role, dir string) *actor {
	t.Helper()
	cmd := exec.Command(os.Args[0], dir)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	must(t, err)
	said, ok := strings.CutPrefix(line, "ready")
	if !ok {
		t.Fatalf("%s said %q", role, line)
	}
	return &actor{cmd: cmd, stdin: stdin, said: strings.TrimSpace(said)}
}

// needRedis finds the real server, or skips: in CI a missing one is a failure.
func needRedis(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"valkey-server", "redis-server"} {
		if bin, err := exec.LookPath(name); err == nil {
			return bin
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("neither valkey-server nor redis-server on PATH, and CI must not skip this")
	}
	t.Skip("neither valkey-server nor redis-server on PATH")
	return ""
}

func noServer(string) (string, error) { return "", exec.ErrNotFound }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls until ok, for what gives no signal of its own.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("not in time: %s", what)
		case <-tick.C:
		}
	}
}

func startRedis(t *testing.T, opts RedisOptions) *Redis {
	t.Helper()
	r, err := StartRedis(t.Context(), opts)
	must(t, err)
	t.Cleanup(func() { _ = r.Close(context.Background()) })
	return r
}

func client(t testing.TB, url string) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(url)
	must(t, err)
	rdb := redis.NewClient(opts)
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}
