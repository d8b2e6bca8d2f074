package main

import (
	"context"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// TestMain takes the settings of whoever runs the tests out of their way.
func TestMain(m *testing.M) {
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "MOLTBOT_") || strings.HasPrefix(name, "OTEL_") {
			_ = os.Unsetenv(name)
		}
	}
	_ = os.Setenv("MOLTBOT_METRICS_LISTEN", "127.0.0.1:0") // other tests run at the same time
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		http.DefaultClient.CloseIdleConnections() // the commands' own; a process that ends needs no such step
		os.Exit(code)
	}))
}

// screen is what a command writes to. Somebody may wait for a text on it.
type screen struct {
	mu    sync.Mutex
	more  *sync.Cond
	text  strings.Builder
	ended bool
}

func newScreen() *screen {
	s := &screen{}
	s.more = sync.NewCond(&s.mu)
	return s
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.more.Broadcast()
	return s.text.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *screen) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.more.Broadcast()
}

// await returns once text was written; false means that the command ended without it.
func (s *screen) await(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !strings.Contains(s.text.String(), text) {
		if s.ended {
			return false
		}
		s.more.Wait()
	}
	return true
}

// call runs a command to its end.
func call(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e strings.Builder
	code = run(t.Context(), args, &o, &e)
	return code, o.String(), e.String()
}

// must runs a command that has to succeed and gives its output.
func must(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errOut := call(t, args...)
	if code != exitOK {
		t.Fatalf("moltbot %s: exit status %d\n%s", strings.Join(args, " "), code, errOut)
	}
	return out
}

// fails runs a command that has to end with want, and gives its complaint.
func fails(t *testing.T, want int, args ...string) string {
	t.Helper()
	code, out, errOut := call(t, args...)
	if code != want {
		t.Errorf("moltbot %s: exit status %d, want %d\n%s", strings.Join(args, " "), code, want, errOut)
	}
	if out != "" {
		t.Errorf("moltbot %s failed, but wrote %q", strings.Join(args, " "), out)
	}
	if !strings.HasPrefix(errOut, "moltbot: ") {
		t.Errorf("moltbot %s complains %q", strings.Join(args, " "), errOut)
	}
	return errOut
}

func contains(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in:\n%s", want, text)
		}
	}
}

func TestHelp(t *testing.T) {
	help := must(t, "--help")
	for _, command := range []string{"up", "serve", "token", "status", "key init", "config show", "config check", "config reference", "version"} {
		contains(t, help, "\n  "+command+" ")
		contains(t, must(t, append(strings.Fields(command), "--help")...), "Usage: moltbot "+command)
	}
}

func TestUsageErrors(t *testing.T) {
	for _, line := range []string{
		"", "begin", "up now", "up --porridge", "up --slots many", "token", "token -u", "token -u a -d soon",
		"serve", "serve console", "key", "task", "task run", "config", "config show --format toml", "status extra",
	} {
		contains(t, fails(t, exitUsage, strings.Fields(line)...), "--help")
	}
}

func TestVersion(t *testing.T) {
	contains(t, must(t, "version"), "moltbot ", "(go1.")
}

// A panic must not look like success.
func TestPanicIsNotHidden(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a panic inside a command was swallowed")
		}
	}()
	run(t.Context(), []string{"version"}, brokenWriter{}, brokenWriter{})
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { panic("no screen") }

// background starts a command that runs until stop.
func background(t *testing.T, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	r := &running{out: newScreen(), log: newScreen(), cancel: cancel, code: make(chan int, 1)}
	go func() {
		code := run(ctx, args, r.out, r.log)
		r.out.end()
		r.log.end()
		r.code <- code
	}()
	t.Cleanup(func() { r.stop(t) })
	return r
}

// running is a command that runs, such as "up".
type running struct {
	out, log *screen
	cancel   context.CancelFunc
	code     chan int
	once     sync.Once
}

// stop ends the command as a signal does, and expects it to end well.
func (r *running) stop(t *testing.T) {
	t.Helper()
	r.once.Do(func() {
		r.cancel()
		if code := <-r.code; code != exitOK {
			t.Errorf("exit status %d after a stop\n%s", code, r.log)
		}
	})
}
