//go:build crashpoint

package app

import (
	"os"
	"strings"
	"sync/atomic"
	"syscall"
)

// crashPoint kills this process, as SIGKILL does, the first time the mailbox
// or the scheduler reaches the point that CRASH_POINT names. A file named by CRASH_ONCE makes it
// once per file, so that the restarted process lives.
func crashPoint() func(string) {
	want, once := os.Getenv("CRASH_POINT"), os.Getenv("CRASH_ONCE")
	if want == "" {
		return nil
	}
	var hit atomic.Bool
	return func(point string) {
		if !strings.EqualFold(point, want) || !hit.CompareAndSwap(false, true) {
			return
		}
		f, err := os.OpenFile(once, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return // it crashed here before
		}
		_ = f.Close()
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}
