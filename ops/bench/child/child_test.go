package child

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shell starts a script that is cut off, should a test forget it.
func shell(t *testing.T, script string) *Process {
	t.Helper()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Start(Options{Name: "script", Program: sh, Args: []string{"-c", script}, Log: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		select {
		case <-p.Done():
		default:
			_ = p.Signal(syscall.SIGKILL)
			<-p.Done()
		}
	})
	return p
}

// A shell waits in "read" until its standard input ends, or a signal does.
const forever = "read line"

func TestAwaitGivesTheGroups(t *testing.T) {
	p := shell(t, `echo starting; echo "ready on 1.2.3.4"; `+forever)
	m, err := p.Await(t.Context(), regexp.MustCompile(`ready on (\S+)\n`))
	if err != nil || m[1] != "1.2.3.4" {
		t.Errorf("%q, %v", m, err)
	}
	// The shell dies of the signal, which is no clean end.
	if err := p.Stop(); err == nil || !strings.Contains(err.Error(), "script ended badly") {
		t.Errorf("stop: %v", err)
	}
}

func TestStopIsCleanWhereTheChildIs(t *testing.T) {
	p := shell(t, `trap 'exit 0' TERM; echo ready; `+forever)
	if _, err := p.Await(t.Context(), regexp.MustCompile("ready\n")); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}

func TestDeathIsTold(t *testing.T) {
	p := shell(t, "echo why it failed >&2; exit 3")
	_, err := p.Await(t.Context(), regexp.MustCompile("ready"))
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "why it failed") {
		t.Errorf("await: %v", err)
	}
	if err := p.Stop(); err == nil || !strings.Contains(err.Error(), "ended by itself") {
		t.Errorf("stop: %v", err)
	}
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	p := shell(t, forever)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if _, err := p.Await(ctx, regexp.MustCompile("ready")); !errors.Is(err, enough) {
		t.Errorf("await: %v", err)
	}
}

func TestOutput(t *testing.T) {
	if out, err := shell(t, "echo one; echo two").Output(t.Context()); err != nil || out != "one\ntwo" {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := shell(t, "echo cause >&2; exit 1").Output(t.Context()); err == nil || !strings.Contains(err.Error(), "cause") {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := shell(t, forever).Output(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestOurSettingsAreNotInherited(t *testing.T) {
	t.Setenv("MOLTBOT_BENCH_API_KEY", "secret")
	t.Setenv("OTHER", "kept")
	out, err := shell(t, `echo "[$MOLTBOT_BENCH_API_KEY] $OTHER"`).Output(t.Context())
	if err != nil || out != "[] kept" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestUsageCountsWhatIsBelow(t *testing.T) {
	p := shell(t, `exec 3<&0; sh -c 'echo $$; read line' <&3 & `+forever)
	m, err := p.Await(t.Context(), regexp.MustCompile(`(\d+)\n`))
	if err != nil {
		t.Fatal(err)
	}
	u, err := p.Usage()
	if err != nil || u.RSS == 0 {
		t.Errorf("%+v, %v", u, err)
	}
	if runtime.GOOS == "linux" && (u.Shared == 0 || u.Shared > u.RSS) {
		t.Errorf("%d of %d are shared", u.Shared, u.RSS)
	}
	if len(u.Below) != 1 || u.Total() <= u.RSS {
		t.Errorf("below it: %v, total %d of %d", u.Below, u.Total(), u.RSS)
	}
	_ = p.Stop() // the shell dies of the signal
	pid, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	for syscall.Kill(pid, 0) == nil && !zombie(m[1]) { // the group was killed, which takes a moment
		pause(t)
	}
	if _, err := p.Usage(); err == nil {
		t.Error("the usage of a dead process is known")
	}
}

func TestStartSaysWhatIsMissing(t *testing.T) {
	_, err := Start(Options{Name: "it", Program: filepath.Join(t.TempDir(), "nothing"), Log: filepath.Join(t.TempDir(), "log")})
	if err == nil || !strings.Contains(err.Error(), "start it") {
		t.Errorf("error %v", err)
	}
	if _, err := Start(Options{Name: "it", Log: filepath.Join(t.TempDir(), "no", "log")}); err == nil || !strings.Contains(err.Error(), "log of it") {
		t.Errorf("error %v", err)
	}
}

func TestProfilesAreWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "profiles")
	reported := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	Profile(ctx, dir, func(err error) { reported <- err })
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := self.Signal(signalBegin); err != nil {
		t.Fatal(err)
	}
	for !exists(filepath.Join(dir, "cpu.pprof")) { // the two signals have no order among each other
		pause(t)
	}
	if err := self.Signal(signalEnd); err != nil {
		t.Fatal(err)
	}
	if err := <-reported; err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cpu", "heap", "allocs", "block", "mutex", "goroutine"} {
		if info, err := os.Stat(filepath.Join(dir, name+".pprof")); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func zombie(pid string) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func pause(t *testing.T) {
	t.Helper()
	select {
	case <-time.After(time.Millisecond):
	case <-t.Context().Done():
		t.Fatal("the test is over")
	}
}
