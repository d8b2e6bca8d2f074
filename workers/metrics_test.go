package workers

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

func TestOutcomeOf(t *testing.T) {
	for want, err := range map[string]error{
		"ok": nil, "model_timeout": fmt.Errorf("ask: %w", &contracts.Error{Code: contracts.CodeModelTimeout}),
		"canceled": fmt.Errorf("ask: %w", context.Canceled), "other": errors.New("anything"),
	} {
		if got := outcomeOf(err); got != want {
			t.Errorf("%v is %q, want %q", err, got, want)
		}
	}
}

// counted is what one answered message costs in calls.
func counted(m *metrics, id string, at time.Time) {
	m.settled(mailbox.HandledDone)
	m.begin(mailbox.Task{Attempt: 1}, at)
	m.asked(time.Millisecond, nil)
	m.end()
	m.ended(id, true)
}

func messageID(t testing.TB) string {
	namer := workerstest.Namer(t)
	c := namer.Conversation(contracts.Scope{Channel: contracts.ChannelAPI, Caller: "a", Session: "s"})
	return namer.NewID(c, "a", time.Now(), namer.Digest("message", "a")).String()
}

func TestCountingDoesNotAllocate(t *testing.T) {
	m, id, at := newMetrics(prometheus.NewRegistry(), time.Now), messageID(t), time.Now()
	if n := testing.AllocsPerRun(1000, func() { counted(m, id, at) }); n > 2 { // the parts of the id
		t.Errorf("%v allocations for each message", n)
	}
	(*metrics)(nil).settled(mailbox.HandledDone) // a pool in a test has none
}

func BenchmarkMetricsOfAMessage(b *testing.B) {
	m, id, at := newMetrics(prometheus.NewRegistry(), time.Now), messageID(b), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		counted(m, id, at)
	}
}
