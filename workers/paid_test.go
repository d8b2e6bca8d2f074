package workers

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
	"moltbot/workers/model"
	"moltbot/workers/workerstest"
)

// A message that is delivered again after it was answered, to the same process
// or to another one, gets the stored answer: nobody pays for a second call.
func TestDeliveredAgainIsNotPaidAgain(t *testing.T) {
	p := newPlant(t)
	var calls atomic.Int32
	paid := completer(func(context.Context, model.Request) (model.Answer, error) {
		return said("answer " + strconv.Itoa(int(calls.Add(1)))), nil
	})
	_, stop, done := p.start(p.options(paid))
	inbox, got := p.inbox("one")
	m := p.message("s", 1, "text", inbox)
	b, err := contracts.EncodeMessage(m, workerstest.Sealer{})
	must(t, err)
	deliver := func(times string) {
		t.Helper()
		_, err := p.js.Publish(t.Context(), contracts.SubjectChat(m.Conversation), b, jetstream.WithMsgID(m.ID+times))
		must(t, err)
		if r := p.result(workerstest.Await(t, "the reply", got)); r.ID != m.ID || r.Reply != "answer 1" {
			t.Errorf("%+v", r)
		}
		workerstest.Eventually(t, "settled", p.settled)
	}
	deliver("")
	deliver("again")
	stop()
	must(t, workerstest.Await(t, "the first process ends", done))
	o := p.options(paid)
	o.Node = "node2"
	p.start(o)
	deliver("to another process")
	if n := calls.Load(); n != 1 {
		t.Errorf("%d calls", n)
	}
}
