package mailbox_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

// Redis refuses, stands still or is started again under load, and loses nothing
// by it: each message is run once and answered once, in order. How often it was
// tried says nothing here: what a server did that answers too late counts.
func TestRedisFaults(t *testing.T) {
	for name := range (&workerstest.Redis{}).Faults(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits more than it works
			r := workerstest.StartRedis(t)
			fault := r.Faults(t)[name]
			s := newStage(t, r.Client(t), workerstest.Queue{AckWait: 600 * time.Millisecond})
			var again atomic.Int32
			run := func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
				work := time.NewTimer(2 * time.Millisecond)
				defer work.Stop()
				<-work.C
				return answer(task), nil
			}
			const conversations = 15
			publish := func(from int) {
				for n := from; n < from+3; n++ {
					for c := range conversations {
						s.publish(s.conversation(strconv.Itoa(c)), n)
					}
				}
			}
			publish(1)
			var workers []*worker
			for range 2 {
				workers = append(workers, s.worker(run, func(o *mailbox.Options) {
					o.Lease = 3 * time.Second // longer than any of them, or what runs is run again
					o.Watch.Count = func(e mailbox.Event) {
						if e == mailbox.EventCommitAgain {
							again.Add(1)
						}
					}
				}))
			}
			workerstest.Eventually(t, "work is under way", func() bool { _, runs, _ := s.ledger.totals(); return runs > 5 })
			fault.Begin(t)
			publish(4)
			failed := func() int32 { return workers[0].errs.Load() + workers[1].errs.Load() + again.Load() }
			switch name {
			case "slow": // nobody is told anything
				time.AfterFunc(time.Second, func() { fault.End(t) })
			case "LOADING": // ends by itself, and on a slow machine before many have asked
				fault.End(t)
			default:
				workerstest.Eventually(t, "they notice", func() bool { return failed() > 10 })
				fault.End(t)
			}
			s.finish()
			s.committedOnce()
			messages, runs, _ := s.ledger.totals()
			t.Logf("%d messages, %d runs; %d calls failed", messages, runs, failed())
			if runs != messages {
				t.Errorf("%d runs for %d messages", runs, messages)
			}
		})
	}
}
