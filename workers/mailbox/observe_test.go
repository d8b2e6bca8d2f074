package mailbox_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

// tally is a Watch that remembers.
type tally struct {
	mu     sync.Mutex
	events [mailbox.Events]int
	ended  map[string]bool
}

func (c *tally) watch() mailbox.Watch {
	c.ended = map[string]bool{}
	return mailbox.Watch{
		Count: func(e mailbox.Event) { c.mu.Lock(); defer c.mu.Unlock(); c.events[e]++ },
		Ended: func(id string, answered bool) { c.mu.Lock(); defer c.mu.Unlock(); c.ended[id] = answered },
	}
}

// publishTraced stores a message with a traceparent.
func (s *stage) publishTraced(conversation string, n int, parent string) string {
	s.t.Helper()
	id := s.id(conversation, n)
	_, err := s.js.PublishMsg(context.Background(), &nats.Msg{
		Subject: contracts.SubjectChat(conversation), Data: s.letter(conversation, n), Header: nats.Header{"traceparent": {parent}},
	}, jetstream.WithMsgID(id))
	must(s.t, err)
	return id
}

// The delivered message and one that is looked up both lead on from their own
// traces, and what is not well-formed leads nowhere.
func TestRunsBelongToTheirTraces(t *testing.T) {
	s := newStage(t, workerstest.MiniRedis(t), workerstest.Queue{AckWait: workerstest.Patience})
	const one, two = "0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319c"
	c := s.conversation("a")
	s.publishTraced(c, 1, "00-"+one+"-b7ad6b7169203331-01")
	s.publishTraced(c, 2, "00-"+two+"-b7ad6b7169203332-01")
	s.publishTraced(c, 3, "00-"+two+"-x-01")
	spans := tracetest.NewSpanRecorder()
	var ids []string
	box := s.box(func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
		ids = append(ids, task.TraceID)
		return mailbox.Outcome{Result: []byte("r")}, nil
	}, func(o *mailbox.Options) {
		o.Watch.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test")
	})
	s.next() // the first is not ours to settle: the second finds it in the stream
	for range 2 {
		_, err := box.Handle(t.Context(), t.Context(), s.next())
		must(t, err)
	}
	if len(ids) != 3 || ids[0] != one || ids[1] != two || ids[2] == "" || ids[2] == two {
		t.Errorf("traces are %v", ids)
	}
	var runs []string
	for _, x := range spans.Ended() {
		if x.Name() == "run message" {
			runs = append(runs, x.Parent().SpanID().String())
			if !slices.Contains(x.Attributes(), attribute.Int("moltbot.attempt", 1)) {
				t.Errorf("attributes are %v", x.Attributes())
			}
		}
	}
	if want := []string{"b7ad6b7169203331", "b7ad6b7169203332", "0000000000000000"}; !slices.Equal(runs, want) {
		t.Errorf("parents are %v, want %v", runs, want)
	}
}

func TestEventsAreCounted(t *testing.T) {
	s := newStage(t, workerstest.MiniRedis(t), workerstest.Queue{AckWait: workerstest.Patience})
	c := s.conversation("a")
	good, bad := s.publish(c, 1), s.publish(c, 2)
	counted := &tally{}
	w := s.worker(func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
		if task.ID == bad {
			return mailbox.Outcome{}, context.DeadlineExceeded // without a code: an attempt
		}
		return mailbox.Outcome{Result: []byte("r")}, nil
	}, func(o *mailbox.Options) { o.Watch, o.MaxAttempts = counted.watch(), 2 })
	workerstest.Eventually(t, "settled", s.settled)
	w.stop()
	counted.mu.Lock()
	defer counted.mu.Unlock()
	if n := counted.events; n[mailbox.EventRetry] != 1 || n[mailbox.EventDead] != 1 || n[mailbox.EventRedelivered] == 0 || n[mailbox.EventCommitAgain] != 0 {
		t.Errorf("events %v", n)
	}
	if answered, ok := counted.ended[good]; !ok || !answered {
		t.Errorf("the good one: %v %v", answered, ok)
	}
	if answered, ok := counted.ended[bad]; !ok || answered {
		t.Errorf("the bad one: %v %v", answered, ok)
	}
}
