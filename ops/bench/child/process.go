// Package child runs the programs that a bench measures: it starts them, learns
// what they consume, profiles them and ends them, whatever happens to the bench.
// It never decides what is measured.
package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Options of a child.
type Options struct {
	// Name is for messages. Required.
	Name string
	// Program and Args are what is run. Program is required.
	Program string
	Args    []string
	// Log gets what it writes on standard error. Required.
	Log string
}

// Process is a child that runs, in a process group of its own.
type Process struct {
	name  string
	log   string
	cmd   *exec.Cmd
	lines *screen
	stdin *os.File      // closed when we end: the child may watch it
	done  chan struct{} // closed when it is gone
	err   error         // how; read it after done
}

// Start starts a child that knows nothing of our environment's settings.
func Start(o Options) (*Process, error) {
	log, err := os.OpenFile(o.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", o.Name, err)
	}
	defer func() { _ = log.Close() }() // the child has its own
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("standard input of %s: %w", o.Name, err)
	}
	p := &Process{name: o.Name, log: o.Log, lines: newScreen(), stdin: write, done: make(chan struct{})}
	p.cmd = exec.Command(o.Program, o.Args...)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = read, p.lines, log
	p.cmd.Env = environment(os.Environ())
	p.cmd.SysProcAttr, p.cmd.WaitDelay = ownGroup(), time.Second // what is below it may hold its output open
	started := make(chan error, 1)
	go p.run(started)
	err = <-started
	_ = read.Close() // the child has its own
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", o.Name, err), write.Close())
	}
	return p, nil
}

// run starts the child and waits for it on one thread: the kernel tells the
// child of our death when the thread that started it ends.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.err = p.cmd.Wait()
	p.lines.end()
	close(p.done)
}

// environment leaves out every setting of ours, secrets among them.
func environment(all []string) []string {
	var out []string
	for _, kv := range all {
		if !strings.HasPrefix(kv, "MOLTBOT_") {
			out = append(out, kv)
		}
	}
	return out
}

// Await waits until standard output matches, and gives the groups.
func (p *Process) Await(ctx context.Context, pattern *regexp.Regexp) ([]string, error) {
	for {
		text, changed := p.lines.read()
		if m := pattern.FindStringSubmatch(text); m != nil {
			return m, nil
		}
		select {
		case <-p.done:
			return nil, fmt.Errorf("%s ended before it was ready: %w; its last lines: %s", p.name, p.ending(), p.tail())
		case <-ctx.Done():
			return nil, fmt.Errorf("%s was not ready: %w; its last lines: %s", p.name, context.Cause(ctx), p.tail())
		case <-changed:
		}
	}
}

// Output waits for the end of a child that ends by itself, and gives what it
// wrote on standard output.
func (p *Process) Output(ctx context.Context) (string, error) {
	var err error
	select {
	case <-p.done:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	err = errors.Join(err, p.reap(), p.err)
	if err != nil {
		return "", fmt.Errorf("%s: %w; its last lines: %s", p.name, err, p.tail())
	}
	text, _ := p.lines.read()
	return strings.TrimSpace(text), nil
}

func (p *Process) ending() error {
	if p.err == nil {
		return errors.New("exit status 0")
	}
	return p.err
}

const tailLength = 1500

func (p *Process) tail() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-tailLength):])
}

// Done is closed when the child is gone.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends s to the child alone.
func (p *Process) Signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("signal %s: %w", p.name, err)
	}
	return nil
}

// From SIGTERM to SIGKILL; "up" needs some seconds where requests still wait.
const stopPatience = 15 * time.Second

// Stop ends the child, by force in the end, and returns when it is gone. A
// child that had ended before, or badly, is an error.
func (p *Process) Stop() error {
	select {
	case <-p.done:
		return errors.Join(fmt.Errorf("%s ended by itself: %w; its last lines: %s", p.name, p.ending(), p.tail()), p.reap())
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may be gone by now
	select {
	case <-p.done:
	case <-time.After(stopPatience):
		err := fmt.Errorf("%s did not stop within %s and was killed", p.name, stopPatience)
		return errors.Join(err, p.reap())
	}
	if p.err != nil {
		return errors.Join(fmt.Errorf("%s ended badly: %w; its last lines: %s", p.name, p.err, p.tail()), p.reap())
	}
	return p.reap()
}

// reap kills what is left of the group and waits for the child.
func (p *Process) reap() error {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // usually nothing is left
	<-p.done
	return p.stdin.Close()
}

// screen collects output and wakes who waits for it.
type screen struct {
	mu      sync.Mutex
	text    strings.Builder
	changed chan struct{}
}

func newScreen() *screen { return &screen{changed: make(chan struct{})} }

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
	return s.text.Write(b)
}

func (s *screen) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *screen) read() (text string, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String(), s.changed
}
