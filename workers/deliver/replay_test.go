package deliver_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/workers/dead"
	"moltbot/workers/deliver"
	"moltbot/workers/deliver/delivertest"
	"moltbot/workers/workerstest"
)

// An answer that was given up on in its middle, and is then replayed from its dead
// letter, shows what was missing and nothing twice. Parts behind one that nobody
// knows of are sent at once; those behind a refused one are not.
func TestDeadAnswersAreReplayed(t *testing.T) {
	for name, verdict := range map[contracts.Code]deliver.Verdict{
		contracts.CodeUndelivered: deliver.VerdictFinal, contracts.CodeUncertain: deliver.VerdictUncertain,
	} {
		want := []string{"one", "two", "three"}
		if verdict == deliver.VerdictUncertain {
			want = []string{"one", "three", "two"}
		}
		t.Run(string(name), func(t *testing.T) {
			t.Parallel() // it waits more than it works
			o := newOffice(t, workerstest.MiniRedis(t))
			var mended atomic.Bool
			o.platform.Act = func(c delivertest.Call) (bool, error) {
				if c.Part == 2 && !mended.Load() {
					return false, delivertest.Fail(verdict, 0)
				}
				return true, nil
			}
			a := o.answer("c", 1, "one|two|three")
			o.publish(a)
			o.worker(nil)
			o.settled()
			if got := o.dead(); got[a.ID] != name || len(got) != 1 {
				t.Fatalf("dead letters: %v", got)
			}
			mended.Store(true)
			letters, err := dead.New(dead.Options{JS: o.js, Sealer: workerstest.Sealer{}})
			must(t, err)
			r, err := letters.Change(t.Context(), contracts.DeadChange{Action: contracts.DeadActReplay, Filter: contracts.DeadFilter{Since: time.Now().Add(-time.Hour)}})
			must(t, err)
			if len(r.Done) != 1 || len(r.Refused) != 0 || r.Done[0].ReplayID != a.ID+"#r100" {
				t.Fatalf("%+v", r)
			}
			o.settled()
			if got := o.platform.Texts(); !slices.Equal(got, want) {
				t.Errorf("users see %q, want %q", got, want)
			}
			if got := o.dead(); len(got) != 0 {
				t.Errorf("dead letters: %v", got)
			}
			if d := o.record(a); d.Status != contracts.DeliverySent {
				t.Errorf("the record says %+v", d)
			}
		})
	}
}
