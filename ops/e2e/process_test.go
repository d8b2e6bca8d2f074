package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a program that a test starts, kills and starts again.
type process struct {
	t    *testing.T
	name string
	args []string
	env  []string
	log  string // file that collects what every start wrote

	setup func(*exec.Cmd) // changes what is about to start; may be nil

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
	err    error
}

func newProcess(t *testing.T, dir, name string, args ...string) *process {
	p := &process{t: t, name: name, args: args, log: filepath.Join(dir, name+".log")}
	t.Cleanup(func() { p.kill() })
	return p
}

func (p *process) start() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), p.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if p.setup != nil {
		p.setup(cmd)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("start %s: %v", p.name, err)
	}
	exited := make(chan struct{})
	p.cmd, p.exited = cmd, exited
	go func() {
		err := cmd.Wait()
		_ = log.Close() // the process is gone, nothing is written any more
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		close(exited)
	}()
}

// signal sends s to the process and its children, if it runs.
func (p *process) signal(s syscall.Signal) (exited <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		done := make(chan struct{})
		close(done)
		return done
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, s) // it may have exited by itself
	return p.exited
}

func (p *process) kill() { <-p.signal(syscall.SIGKILL) }

// crash is SIGKILL and a new start.
func (p *process) crash() {
	p.t.Helper()
	p.kill()
	p.start()
}

// terminate is SIGTERM, waiting for the end, which must be clean.
func (p *process) terminate() {
	p.t.Helper()
	select {
	case <-p.signal(syscall.SIGTERM):
	case <-time.After(40 * time.Second):
		p.t.Fatalf("%s did not stop within 40s of SIGTERM\n%s", p.name, p.tail())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		p.t.Errorf("%s did not stop cleanly: %v\n%s", p.name, p.err, p.tail())
	}
}

// lines counts the log lines, of all starts, that hold text.
func (p *process) lines(text string) int {
	b, _ := os.ReadFile(p.log) // not there yet: none
	return strings.Count(string(b), text)
}

func (p *process) tail() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-3000):])
}

// ports were given to a test: one that runs at the same time must not get them.
var ports sync.Map

// freePort is a port nobody listens on. It lies below the range from which the
// system gives ports to outgoing connections: one of those could take it while
// the process that uses it is being restarted.
func freePort(t *testing.T) int {
	t.Helper()
	for {
		port := 15_000 + rand.N(15_000)
		if _, given := ports.LoadOrStore(port, true); given {
			continue
		}
		if l, err := net.Listen("tcp", local(port)); err == nil {
			_ = l.Close()
			return port
		}
	}
}

// eventually polls until ok, for things that send no event across processes.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	over := time.After(3 * within) // within is for a machine that does nothing else
	for !ok() {
		select {
		case <-tick.C:
		case <-over:
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
