// Package e2e runs the built program as separate processes on a NATS server
// process and a Redis, breaks them, and judges what a client sees. It has tests
// only; nothing imports it.
package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
)

// full runs the tests at the size that a release is judged by. Without it they
// are small enough for every "go test ./...".
var full = flag.Bool("full", false, "run at release size")

// built are the programs under test, made on first use.
var built struct {
	once          sync.Once
	dir           string
	moltbot, nats string
	err           error
}

func TestMain(m *testing.M) {
	flag.Parse()
	// Most tests wait for processes to notice something: as many as there are
	// processors would leave those idle.
	if few := flag.Lookup("test.parallel"); !*full && few.Value.String() == few.DefValue {
		_ = few.Value.Set(strconv.Itoa(runtime.GOMAXPROCS(0) + 1)) // a number
	}
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir) // a temporary directory
	}
	os.Exit(code)
}

// programs builds moltbot, with crash points, and nats-server from its own main:
// "go run" would not pass signals on.
func programs(t *testing.T) (moltbot, nats string) {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "moltbot-e2e-"); built.err != nil {
			return
		}
		built.moltbot, built.nats = filepath.Join(built.dir, "moltbot"), filepath.Join(built.dir, "nats-server")
		built.err = goBuild(built.moltbot, "-tags", "crashpoint", "moltbot/ops/moltbot")
		if built.err == nil {
			built.err = goBuild(built.nats, "github.com/nats-io/nats-server/v2")
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.moltbot, built.nats
}

func goBuild(to string, args ...string) error {
	out, err := exec.Command("go", append([]string{"build", "-o", to}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("build %s: %w\n%s", filepath.Base(to), err, out)
	}
	return nil
}
