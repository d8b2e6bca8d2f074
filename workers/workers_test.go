package workers

import (
	"context"
	"errors"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/workers/model"
	"moltbot/workers/workerstest"
)

func (p *plant) start(o Options) (w *Workers, stop context.CancelFunc, done chan error) {
	p.t.Helper()
	w, err := New(o)
	must(p.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done = make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		done <- w.Run(ctx)
		close(ended)
	}()
	p.t.Cleanup(func() { cancel(); <-ended })
	return w, cancel, done
}

func TestOptionsAreChecked(t *testing.T) {
	p := newPlant(t)
	for name, spoil := range map[string]func(*Options){
		"no models":      func(o *Options) { o.Models = nil },
		"no consumer":    func(o *Options) { o.Consumer = nil },
		"no connection":  func(o *Options) { o.Conn = nil },
		"negative slots": func(o *Options) { o.Slots = -1 },
		"beat too slow":  func(o *Options) { o.Mailbox.Beat = o.Mailbox.AckWait + time.Hour },
	} {
		o := p.options(model.Demo{})
		spoil(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The whole role: messages in, answers out, in the order of the conversation,
// and each knows what was said before.
func TestMessageInReplyOut(t *testing.T) {
	p := newPlant(t)
	_, stop, done := p.start(p.options(model.Demo{}))
	inbox, got := p.inbox("one")
	seen := make(map[string]bool)
	next := func() contracts.Result {
		for { // a delivery that finds its message finished replies again, which is harmless
			r := p.result(workerstest.Await(t, "a reply", got))
			if !seen[r.ID] {
				seen[r.ID] = true
				return r
			}
		}
	}
	for n, text := range []string{"first", "second", "third"} {
		p.publish(p.message("s", n, text, inbox))
	}
	for n, text := range []string{"first", "second", "third"} {
		r := next()
		if m := p.message("s", n, text, ""); r.ID != m.ID || r.Reply == "" || r.Code != "" || r.SessionID != "s" {
			t.Errorf("reply %d: %+v", n, r)
		}
	}
	m := p.message("s", 3, "fourth", inbox)
	p.publish(m)
	r := next()
	want, err := (model.Demo{}).Complete(t.Context(), model.Request{Messages: []model.Message{
		{Role: model.RoleUser, Text: "first"}, {Role: model.RoleAssistant, Text: "x"},
		{Role: model.RoleUser, Text: "second"}, {Role: model.RoleAssistant, Text: "x"},
		{Role: model.RoleUser, Text: "third"}, {Role: model.RoleAssistant, Text: "x"},
		{Role: model.RoleUser, Text: "fourth"},
	}})
	must(t, err)
	if r.Reply != want.Text {
		t.Errorf("the fourth reply is %q", r.Reply)
	}
	workerstest.Eventually(t, "the stream is purged", func() bool {
		return len(workerstest.Contents(t, p.js, contracts.StreamChat)) == 0
	})
	stop()
	must(t, workerstest.Await(t, "ends", done))
}

// A second request for a message that runs gets the same answer.
func TestAttachWhileRunning(t *testing.T) {
	p := newPlant(t)
	entered, open := make(chan struct{}), make(chan struct{})
	w, _, _ := p.start(p.options(completer(func(context.Context, model.Request) (model.Answer, error) {
		close(entered)
		<-open
		return said("once"), nil
	})))
	inbox, got := p.inbox("one")
	late, also := p.inbox("two")
	m := p.message("s", 1, "text", inbox)
	p.publish(m)
	workerstest.Await(t, "it runs", entered)
	if limit, running := w.Slots(); limit != 8 || running != 1 {
		t.Errorf("%d of %d slots are said to run", running, limit)
	}
	id, err := contracts.ParseID(m.ID)
	must(t, err)
	must(t, p.nc.Publish(contracts.SubjectAttach(id), contracts.EncodeAttach(contracts.Attach{ReplyTo: late})))
	workerstest.Eventually(t, "attached", func() bool {
		w.replies.mu.Lock()
		defer w.replies.mu.Unlock()
		run := w.replies.runs[m.ID]
		return run != nil && len(run.inboxes) == 1
	})
	close(open)
	for _, c := range []chan contracts.Reply{got, also} {
		if r := p.result(workerstest.Await(t, "a reply", c)); r.Reply != "once" {
			t.Errorf("got %+v", r)
		}
	}
}

// A final failure of the model is the answer, and a message that cannot be
// opened is told so and kept as a dead letter.
func TestFailuresAreAnswered(t *testing.T) {
	p := newPlant(t)
	p.start(p.options(completer(func(context.Context, model.Request) (model.Answer, error) {
		return model.Answer{}, &contracts.Error{Code: contracts.CodeModelFailed, Message: "the model refused"}
	})))
	inbox, got := p.inbox("one")
	p.publish(p.message("s", 1, "text", inbox))
	if r := p.result(workerstest.Await(t, "a reply", got)); r.Code != contracts.CodeModelFailed || r.Detail != "the model refused" {
		t.Errorf("got %+v", r)
	}
	m := p.message("s", 2, "text", inbox)
	b, err := contracts.EncodeMessage(m, wrongKey{})
	must(t, err)
	_, err = p.js.Publish(t.Context(), contracts.SubjectChat(m.Conversation), b)
	must(t, err)
	if r := p.result(workerstest.Await(t, "a reply", got)); r.ID != m.ID || r.Code != contracts.CodeDead {
		t.Errorf("got %+v", r)
	}
	if n := len(workerstest.Contents(t, p.js, contracts.StreamDead)); n != 1 {
		t.Errorf("%d dead letters", n)
	}
}

// wrongKey seals so that nobody can open it.
type wrongKey struct{ workerstest.Sealer }

func (wrongKey) Seal(plain []byte, _ contracts.Kind, _, _ string) ([]byte, error) { return plain, nil }

func TestSlotsAtRunTime(t *testing.T) {
	p := newPlant(t)
	entered, open := make(chan struct{}, 10), make(chan struct{})
	o := p.options(completer(func(context.Context, model.Request) (model.Answer, error) {
		entered <- struct{}{}
		<-open
		return said("well"), nil
	}))
	o.Slots = 1
	w, _, _ := p.start(o)
	inbox, got := p.inbox("one")
	for _, s := range []string{"a", "b", "c"} {
		p.publish(p.message(s, 1, "text", inbox))
	}
	workerstest.Await(t, "one runs", entered)
	if limit, running := w.Slots(); limit != 1 || running != 1 {
		t.Errorf("slots %d, running %d", limit, running)
	}
	w.SetSlots(3)
	workerstest.Await(t, "two run", entered)
	workerstest.Await(t, "three run", entered)
	if limit, running := w.Slots(); limit != 3 || running != 3 {
		t.Errorf("slots %d, running %d", limit, running)
	}
	w.SetSlots(-5)
	close(open)
	for range 3 {
		workerstest.Await(t, "a reply", got)
	}
	workerstest.Eventually(t, "none runs", func() bool {
		limit, running := w.Slots()
		return limit == 0 && running == 0
	})
}

// Shutdown lets what runs finish and answer.
func TestShutdownFinishesWhatRuns(t *testing.T) {
	p := newPlant(t)
	entered, open := make(chan struct{}), make(chan struct{})
	_, stop, done := p.start(p.options(completer(func(ctx context.Context, _ model.Request) (model.Answer, error) {
		close(entered)
		select {
		case <-open:
			return said("in time"), nil
		case <-ctx.Done():
			return model.Answer{}, ctx.Err()
		}
	})))
	inbox, got := p.inbox("one")
	p.publish(p.message("s", 1, "text", inbox))
	workerstest.Await(t, "it runs", entered)
	stop()
	close(open)
	if r := p.result(workerstest.Await(t, "the reply", got)); r.Reply != "in time" {
		t.Errorf("got %+v", r)
	}
	must(t, workerstest.Await(t, "ends", done))
	workerstest.Eventually(t, "settled", p.settled)
}

func TestHealthy(t *testing.T) {
	p := newPlant(t)
	w, err := New(p.options(model.Demo{}))
	must(t, err)
	must(t, w.Healthy(t.Context()))
	must(t, p.rdb.Close())
	var e *contracts.Error
	if err := w.Healthy(t.Context()); !errors.As(err, &e) || e.Code != contracts.CodeStoreDown {
		t.Errorf("without Redis: %v", err)
	}
	p.nc.Close()
	if err := w.Healthy(t.Context()); !errors.As(err, &e) || e.Code != contracts.CodeQueueDown {
		t.Errorf("without NATS: %v", err)
	}
}

// A Redis that answers but takes no writes is none to fetch messages for: each
// would only travel back and forth.
func TestHealthyNeedsWrites(t *testing.T) {
	r := workerstest.StartRedis(t)
	p := newPlant(t)
	p.rdb = r.Client(t)
	w, err := New(p.options(model.Demo{}))
	must(t, err)
	for name, fault := range r.Faults(t) {
		if !fault.Pings {
			continue
		}
		fault.Begin(t)
		must(t, p.rdb.Ping(t.Context()).Err())
		var e *contracts.Error
		if err := w.Healthy(t.Context()); !errors.As(err, &e) || e.Code != contracts.CodeStoreDown || !e.Retryable {
			t.Errorf("%s: %v", name, err)
		}
		fault.End(t)
		must(t, w.Healthy(t.Context()))
	}
}
