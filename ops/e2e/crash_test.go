package e2e

import (
	"path/filepath"
	"testing"
	"time"
)

// TestCrashPoints kills a worker at the moments that matter: with the lease
// just taken, with the answer committed and nobody told, with the reply sent
// and the message not acknowledged (which is also after the release).
func TestCrashPoints(t *testing.T) {
	t.Parallel() // it waits more than it works
	for _, point := range []string{"begun", "committed", "replied"} {
		t.Run(point, func(t *testing.T) {
			l := newLedger(t, 5*time.Millisecond)
			once := filepath.Join(t.TempDir(), "crashed")
			y := build(t, shape{workers: 2, model: l.model, env: map[string]string{"CRASH_POINT": point, "CRASH_ONCE": once}})
			died := make(chan string, 2)
			for _, w := range y.workers {
				exited := w.signal(0)
				go func() {
					<-exited
					died <- w.name
				}()
			}
			// One conversation, so that the worker has nothing else in hand when it dies.
			o := &load{conversations: 1, messages: 20, prefix: "crash-" + point}
			judge(t, y, l, o)
			select {
			case name := <-died:
				t.Logf("%s died at %q", name, point)
			default:
				t.Fatalf("no worker reached the point %q", point)
			}
			if n := l.doubles(); n > 0 {
				t.Errorf("%d messages ran twice: at none of these points is a run under way", n)
			}
		})
	}
}
