package mailbox

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// Without a tracer nothing is made: the hot path pays no allocation.
func TestNoTracesCostNothing(t *testing.T) {
	m := &Mailbox{o: Options{Now: time.Now}}
	msg := message{at: time.Now(), header: nats.Header{traceParent: {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}}
	ctx := context.Background()
	var task Task
	if n := testing.AllocsPerRun(1000, func() {
		_, work, end := m.traced(ctx, ctx, &task, msg, msg.at)
		m.step(work, "commit")(nil)
		m.count(EventRetry)
		m.ended(task, true)
		end(HandledDone)
	}); n > 0 {
		t.Errorf("%v allocations for each message", n)
	}
	if task.TraceID != "" {
		t.Error("a trace is named where there is none")
	}
}

func FuzzParentOf(f *testing.F) {
	f.Add([]byte("NATS/1.0\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n"))
	f.Add([]byte("NATS/1.0\r\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if parentOf(t.Context(), message{rawHeader: raw}) == nil {
			t.Fatal("no context")
		}
	})
}

func BenchmarkWatchOff(b *testing.B) {
	m := &Mailbox{o: Options{Now: time.Now}}
	ctx, msg := context.Background(), message{at: time.Now()}
	var task Task
	b.ReportAllocs()
	for b.Loop() {
		_, work, end := m.traced(ctx, ctx, &task, msg, msg.at)
		m.step(work, "commit")(nil)
		end(HandledDone)
	}
}
