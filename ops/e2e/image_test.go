package e2e

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"moltbot/ops/deploy"
)

const (
	root    = "../.."
	release = "v0.0.0-e2e"
)

// packed is our program, made by the very command of the container file.
var packed struct {
	once sync.Once
	path string
	err  error
}

func image(t *testing.T) string {
	t.Helper()
	programs(t) // and their directory
	packed.once.Do(func() {
		packed.path = filepath.Join(built.dir, "image", "moltbot")
		packed.err = pack(packed.path)
	})
	if packed.err != nil {
		t.Fatal(packed.err)
	}
	return packed.path
}

func pack(to string) error {
	all, err := deploy.Instructions(root)
	if err != nil {
		return err
	}
	environ, command := deploy.BuildCommand(all)
	cmd := exec.Command("sh", "-c", strings.ReplaceAll(command, "/out/moltbot", to))
	cmd.Dir = root
	cmd.Env = append(append(os.Environ(), environ...), "VERSION="+release)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build as the image does: %w\n%s", err, out)
	}
	return os.Chmod(built.dir, 0o755) // other users run it
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o755)
	}
	if err == nil {
		err = os.WriteFile(to, content, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// cell is a root directory with what the image holds: the program and the
// certificates. There is no /tmp, no /etc/passwd, no shell and no library.
type cell struct {
	t   *testing.T
	dir string
}

func newCell(t *testing.T, certificates []byte) cell {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can change the root directory")
	}
	c := cell{t: t, dir: open(t)}
	copyFile(t, image(t), filepath.Join(c.dir, "moltbot"))
	certs := filepath.Join(c.dir, "etc/ssl/certs/ca-certificates.crt")
	if err := os.MkdirAll(filepath.Dir(certs), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(certs, certificates, 0o644); err != nil {
		t.Fatal(err)
	}
	volume := filepath.Join(c.dir, "var/lib/moltbot")
	if err := os.MkdirAll(volume, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(volume, 65532, 65532); err != nil {
		t.Fatal(err)
	}
	return c
}

// enter puts a process into the cell, as nobody in particular, with no environment.
func (c cell) enter(cmd *exec.Cmd) {
	cmd.Env, cmd.Dir = []string{}, "/"
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Chroot = c.dir
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65532, Gid: 65532}
}

func (c cell) run(args ...string) (string, error) {
	cmd := exec.CommandContext(c.t.Context(), "/moltbot", args...)
	c.enter(cmd)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// The program needs nothing but itself, and for TLS the certificates.
func TestImageNeedsNothingElse(t *testing.T) {
	t.Parallel() // it waits more than it works
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	c := newCell(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	if out, err := c.run("version"); err != nil || !strings.HasPrefix(out, "moltbot "+release+" (go1.") {
		t.Fatalf("version: %v: %s", err, out)
	}
	// The server's certificate is believed because it is in the file.
	if out, err := c.run("probe", secure.URL); err == nil || !strings.Contains(out, "answers 404") {
		t.Errorf("over TLS: %v: %s", err, out)
	}
	if out, err := c.run("key", "init", "/var/lib/moltbot/keys"); err != nil {
		t.Fatalf("key init: %v: %s", err, out)
	}
	watch, nobody := local(freePort(t)), local(freePort(t))
	p := newProcess(t, t.TempDir(), "serve", "/moltbot", "serve", "workers")
	p.setup = func(cmd *exec.Cmd) {
		c.enter(cmd)
		cmd.Env = []string{
			"MOLTBOT_KEYS_DIR=/var/lib/moltbot/keys", "MOLTBOT_METRICS_LISTEN=" + watch,
			"MOLTBOT_NATS_URL=nats://" + nobody, "MOLTBOT_NATS_MONITOR_URL=http://" + nobody, "MOLTBOT_REDIS_URL=redis://" + nobody,
		}
	}
	p.start()
	defer func() {
		if t.Failed() {
			t.Log(p.tail())
		}
	}()
	eventually(t, 20*time.Second, "the process answers", func() bool {
		_, err := c.run("probe", "http://"+watch+"/livez")
		return err == nil
	})
	if out, err := c.run("probe", "http://"+watch+"/readyz"); err == nil || !strings.Contains(out, "answers 503") {
		t.Errorf("ready without NATS and Redis: %v: %s", err, out)
	}
	p.terminate()
}
