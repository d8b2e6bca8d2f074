package ingress_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"moltbot/contracts"
	"moltbot/ingress"
)

// Where nobody knows whether a completion was stored, its client asks again, and
// what may be in the queue is read by nobody: it is given up. With a key it is
// the same message again.
func TestCompletionOfUnknownFate(t *testing.T) {
	r := newBareRig(t)
	tries := make(chan string, 100)
	sub, err := r.test.Subscribe(contracts.SubjectsChat, func(d *nats.Msg) { tries <- d.Header.Get(nats.MsgIdHdr) }) // and no word of it
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := r.test.Flush(); err != nil {
		t.Fatal(err)
	}
	g := make(givenUp, 100)
	_, with := withModels(t)
	r.run(with, func(o *ingress.Options) { o.Publish, o.Abandoner = 30*time.Millisecond, g })
	for key, body := range map[string]string{"plain": ask(user("x")), "stream": ask(user("x"), streaming)} {
		refused(t, r.complete(body, "Idempotency-Key: "+key), 503, "queue_unavailable")
		first := await(t, "the message with a key", tries)
		if again := await(t, "the same", tries); again != first {
			t.Errorf("%s, then %s", first, again)
		}
		refused(t, r.complete(body), 503, "queue_unavailable")
		if id := await(t, "the cancel", g); id != await(t, "the message", tries) {
			t.Errorf("%s was given up", id)
		}
		await(t, "the same", tries)
	}
	problem(t, r.post(say("x")), contracts.CodeQueueDown)
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if len(g) != 0 {
		t.Error("more was given up")
	}
}
