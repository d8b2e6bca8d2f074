package ingress_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
	"moltbot/ingress"
)

func TestQueueFull(t *testing.T) {
	r := newBareRig(t)
	r.makeStream(jetstream.StreamConfig{MaxMsgs: 1})
	r.run()
	first := r.post(say("hi", `"timeout":0`), "Idempotency-Key: k")
	if first.status != 202 {
		t.Fatalf("%d %s", first.status, first.body)
	}
	res := r.post(say("hi", `"timeout":0`))
	problem(t, res, contracts.CodeQueueFull)
	if res.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", res.header.Get("Retry-After"))
	}
	// What is stored already is not refused for want of room.
	if again := r.post(say("hi", `"timeout":0`), "Idempotency-Key: k"); again.status != 202 || again.chat(t).ID != first.chat(t).ID {
		t.Errorf("repeated: %d %s", again.status, again.body)
	}
}

func TestConversationFull(t *testing.T) {
	r := newBareRig(t)
	r.makeStream(jetstream.StreamConfig{MaxMsgsPerSubject: 1, DiscardNewPerSubject: true})
	r.run()
	body := say("hi", `"timeout":0`, `"session_id":"s"`)
	if res := r.post(body); res.status != 202 {
		t.Fatalf("%d %s", res.status, res.body)
	}
	res := r.post(body)
	problem(t, res, contracts.CodeConversationFull)
	if res.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", res.header.Get("Retry-After"))
	}
	if res := r.post(say("hi", `"timeout":0`)); res.status != 202 {
		t.Errorf("another conversation: %d %s", res.status, res.body)
	}
}

func TestMessageOverTheStreamsLimit(t *testing.T) {
	r := newBareRig(t)
	r.makeStream(jetstream.StreamConfig{MaxMsgSize: 100})
	r.run()
	problem(t, r.post(say("hi", `"timeout":0`)), contracts.CodeTooLarge)
}

// Without the broker the answer is no at once; with it back all goes on.
func TestBrokerDownAndUp(t *testing.T) {
	r := newRig(t, func(o *ingress.Options) { o.Publish = patient })
	gone, back := make(chan struct{}, 10), make(chan struct{}, 10)
	r.conn.SetDisconnectErrHandler(func(*nats.Conn, error) { gone <- struct{}{} })
	r.conn.SetReconnectHandler(func(*nats.Conn) { back <- struct{}{} })
	testBack := make(chan struct{}, 10)
	r.test.SetReconnectHandler(func(*nats.Conn) { testBack <- struct{}{} })
	if res := r.post(say("hi", `"timeout":0`)); res.status != 202 {
		t.Fatalf("%d %s", res.status, res.body)
	}

	r.broker.stop()
	await(t, "disconnect", gone)
	start := time.Now()
	res := r.post(say("hi"))
	problem(t, res, contracts.CodeQueueDown)
	if took := time.Since(start); took > patient/4 {
		t.Errorf("it took %s to say no", took)
	}
	if res.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", res.header.Get("Retry-After"))
	}

	r.broker.start()
	await(t, "reconnect", back)
	await(t, "reconnect of the test", testBack)
	r.work(answered)
	if res := r.post(say("hi")); res.status != 200 || res.chat(t).Reply != "you said hi" {
		t.Errorf("afterwards: %d %s", res.status, res.body)
	}
	if n := r.stored(); n != 2 {
		t.Errorf("%d messages stored, want 2: before and after", n)
	}
}

// Containers start in any order: ingress serves before there is a broker.
func TestBrokerLate(t *testing.T) {
	r := newBareRig(t)
	gone, back, testBack := make(chan struct{}, 10), make(chan struct{}, 10), make(chan struct{}, 10)
	r.conn.SetDisconnectErrHandler(func(*nats.Conn, error) { gone <- struct{}{} })
	r.conn.SetReconnectHandler(func(*nats.Conn) { back <- struct{}{} })
	r.test.SetReconnectHandler(func(*nats.Conn) { testBack <- struct{}{} })
	r.broker.stop()
	await(t, "disconnect", gone)
	const flush = time.Second // less than a wait for the broker would take
	start := time.Now()
	r.run()
	if res := r.get("/livez"); res.status != 200 || time.Since(start) > flush {
		t.Errorf("livez %d after %s", res.status, time.Since(start))
	}
	problem(t, r.post(say("hi")), contracts.CodeQueueDown)
	r.broker.start()
	await(t, "connect", back)
	await(t, "connect of the test", testBack)
	r.makeStream(jetstream.StreamConfig{})
	r.work(answered)
	if res := r.post(say("hi")); res.status != 200 {
		t.Errorf("%d %s", res.status, res.body)
	}
}

func TestStreamDeleted(t *testing.T) {
	r := newBareRig(t)
	r.makeStream(jetstream.StreamConfig{})
	asked := make(chan struct{}, 10)
	mended := make(chan struct{}, 10)
	r.run(func(o *ingress.Options) {
		o.Repair = func(context.Context) error {
			asked <- struct{}{}
			r.makeStream(jetstream.StreamConfig{})
			mended <- struct{}{}
			return nil
		}
	})
	if err := r.js.DeleteStream(t.Context(), contracts.StreamChat); err != nil {
		t.Fatal(err)
	}
	problem(t, r.post(say("hi", `"timeout":0`)), contracts.CodeQueueDown)
	await(t, "repair", asked)
	await(t, "repaired", mended)
	if res := r.post(say("hi", `"timeout":0`)); res.status != 202 {
		t.Errorf("%d %s", res.status, res.body)
	}
	if n := r.stored(); n != 1 {
		t.Errorf("%d messages stored", n)
	}
}

// The first acknowledgement is lost; the same id again makes one message.
func TestAckLost(t *testing.T) {
	r := newBareRig(t)
	tries := make(chan string, 10)
	sub, err := r.test.Subscribe(contracts.SubjectsChat, func(d *nats.Msg) { // instead of the stream
		tries <- d.Header.Get(nats.MsgIdHdr)
		if len(tries) == 2 {
			_ = d.Respond([]byte(`{"stream":"CHAT","seq":1,"duplicate":true}`))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := r.test.Flush(); err != nil {
		t.Fatal(err)
	}
	r.run(func(o *ingress.Options) { o.Publish = 50 * time.Millisecond })
	res := r.post(say("hi", `"timeout":0`))
	if res.status != 202 {
		t.Fatalf("%d %s", res.status, res.body)
	}
	a, b := await(t, "first", tries), await(t, "second", tries)
	if a != b || a != res.chat(t).ID {
		t.Errorf("published as %s and %s, answered %s", a, b, res.chat(t).ID)
	}
}
