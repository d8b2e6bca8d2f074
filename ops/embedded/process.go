package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	stopPatience = 10 * time.Second // from SIGTERM to SIGKILL
	maxLog       = 1 << 20          // a log larger than this starts anew
	tailLength   = 2 << 10
)

// process is a running program in a process group of its own, so that Ctrl-C
// in a terminal reaches us and not it.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // how it ended; read it after done
}

// startProcess starts cmd so that it dies with us.
func startProcess(cmd *exec.Cmd) (*process, error) {
	cmd.SysProcAttr = ownGroup()
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// Linux sends Pdeathsig when the thread that forked the child ends, not
		// the process. Go ends threads as it likes, so this goroutine keeps its
		// thread to itself for as long as the child lives.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

// stop ends the process: SIGTERM, then SIGKILL for the whole group when
// patience or ctx runs out. It returns when the process is gone.
func (p *process) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop process %d: %w", p.cmd.Process.Pid, err)
	}
	select {
	case <-p.done:
		return p.killGroup()
	case <-ctx.Done():
	}
	if err := p.killGroup(); err != nil {
		return err
	}
	<-p.done
	return fmt.Errorf("process %d did not stop in time and was killed: %w", p.cmd.Process.Pid, ctx.Err())
}

// killGroup ends what is left of the group, such as a fork that was rewriting
// the append-only file. The id cannot belong to anyone else while a member lives.
func (p *process) killGroup() error {
	err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill process group %d: %w", p.cmd.Process.Pid, err)
	}
	return nil
}

// openLog opens path for appending, emptied first when it has grown large, and
// returns where the new lines will begin.
func openLog(path string) (*os.File, int64, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("open log: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("open log: %w", err), file.Close())
	}
	if info.Size() <= maxLog {
		return file, info.Size(), nil
	}
	if err := file.Truncate(0); err != nil {
		return nil, 0, errors.Join(fmt.Errorf("truncate log: %w", err), file.Close())
	}
	return file, 0, nil
}

// lastLines returns the end of what was written to the log since offset.
func lastLines(path string, offset int64) string {
	file, err := os.Open(path)
	if err != nil {
		return "its log cannot be read: " + err.Error()
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil {
		offset = max(offset, info.Size()-tailLength)
	}
	text, err := io.ReadAll(io.NewSectionReader(file, offset, tailLength))
	if err != nil {
		return "its log cannot be read: " + err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], " | ")
}
