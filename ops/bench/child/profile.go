package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"syscall"
)

// Profiles are written when the process that Profile runs in is told so by
// signals: nothing of it can be reached from outside the machine.
const (
	signalBegin = syscall.SIGUSR1
	signalEnd   = syscall.SIGUSR2
)

// Sampling of the profiles that are off by default.
const (
	blockRate     = 10_000 // one sample per 10 microseconds blocked
	mutexFraction = 100    // one of so many contentions
)

// Profile runs in the child. It waits for the two signals, writes the profiles
// of the time between into dir, and calls report with how it went.
func Profile(ctx context.Context, dir string, report func(error)) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, signalBegin, signalEnd)
	go func() {
		defer signal.Stop(signals)
		var cpu *os.File
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-signals:
				var err error
				if s == signalBegin {
					cpu, err = beginProfiles(dir)
				} else {
					err = endProfiles(dir, cpu)
				}
				if s == signalEnd || err != nil {
					report(err)
					return
				}
			}
		}
	}()
}

func beginProfiles(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("profiles: %w", err)
	}
	f, err := os.Create(filepath.Join(dir, "cpu.pprof"))
	if err != nil {
		return nil, fmt.Errorf("profiles: %w", err)
	}
	runtime.SetBlockProfileRate(blockRate)
	runtime.SetMutexProfileFraction(mutexFraction)
	return f, pprof.StartCPUProfile(f)
}

func endProfiles(dir string, cpu *os.File) error {
	if cpu == nil {
		return errors.New("profiles: ended before they began")
	}
	pprof.StopCPUProfile()
	errs := []error{cpu.Close()}
	for _, name := range []string{"heap", "allocs", "block", "mutex", "goroutine"} {
		f, err := os.Create(filepath.Join(dir, name+".pprof"))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, pprof.Lookup(name).WriteTo(f, 0), f.Close())
	}
	return errors.Join(errs...)
}

// ProfilesWritten is the line that a child prints once its profiles are there.
const ProfilesWritten = "profiles are written"

// BeginProfile tells a child that runs Profile to begin.
func (p *Process) BeginProfile() error { return p.Signal(signalBegin) }

// EndProfile tells it to write them. It goes on meanwhile, and prints
// ProfilesWritten when it is done.
func (p *Process) EndProfile() error { return p.Signal(signalEnd) }
