package workers

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

func testNotes(write func(context.Context, string, contracts.About, time.Time, bool) error, now func() time.Time) *notes {
	return &notes{
		write: write, sealer: workerstest.Sealer{}, log: zerolog.Nop(), now: now, queue: make(chan sighting, 2), last: map[string]time.Time{},
		lost: prometheus.NewCounter(prometheus.CounterOpts{Name: "lost"}),
	}
}

// A session is noted when it begins, then about once a minute; what was lost is
// made up for by the next message.
func TestWhenSessionsAreNoted(t *testing.T) {
	p := newPlant(t)
	task := func(session string) mailbox.Task {
		m := p.message(session, 1, "hi", "")
		b, err := contracts.EncodeMessage(m, workerstest.Sealer{})
		must(t, err)
		l, err := contracts.DecodeLetter(b)
		must(t, err)
		return mailbox.Task{Conversation: m.Conversation, Letter: l}
	}
	now := time.UnixMilli(0)
	var wrote []bool
	down := false
	n := testNotes(func(_ context.Context, _ string, a contracts.About, _ time.Time, fresh bool) error {
		if down {
			return errors.New("down")
		}
		if a.Caller != "test" || a.SessionID != "c" || a.Channel != contracts.ChannelAPI {
			t.Errorf("%+v", a)
		}
		wrote = append(wrote, fresh)
		return nil
	}, func() time.Time { return now })
	drain := func() { n.rest() }
	step := func(after time.Duration, entries int, want ...bool) {
		t.Helper()
		now = now.Add(after)
		n.committed(task("c"), mailbox.Outcome{}, entries)
		drain()
		if len(wrote) != len(want) || len(want) == 1 && wrote[0] != want[0] {
			t.Errorf("after %s, %d entries: wrote %v, want %v", after, entries, wrote, want)
		}
		wrote = nil
	}
	step(0, 1, true)
	step(time.Second, 2)
	step(time.Second, 1, true) // erased and begun again
	step(time.Second, 2)
	step(2*time.Minute, 3, false)
	down = true
	step(2*time.Minute, 4)
	down = false
	step(time.Second, 5, false)
	if v := testutil.ToFloat64(n.lost); v != 1 {
		t.Errorf("%v lost", v)
	}
	for range 3 { // more than there is room for: nobody waits
		n.committed(task("c"), mailbox.Outcome{}, 1)
	}
	if v := testutil.ToFloat64(n.lost); v != 2 {
		t.Errorf("%v lost", v)
	}
	n.committed(mailbox.Task{Conversation: "raw"}, mailbox.Outcome{}, 1)
}

func TestNotesAreBounded(t *testing.T) {
	n := testNotes(nil, time.Now)
	for i := range manyNotes + 10 {
		n.due(string(rune(i)), false, time.UnixMilli(0))
	}
	if len(n.last) > manyNotes {
		t.Errorf("%d are remembered", len(n.last))
	}
}
