package workers

import (
	"context"
	"sync/atomic"
	"testing"

	"moltbot/contracts"
	"moltbot/workers/model"
	"moltbot/workers/workerstest"
)

// A message whose reader left is stopped while it runs; the next one of its
// conversation goes on, and nothing is run again.
func TestCancelWhileRunning(t *testing.T) {
	p := newPlant(t)
	entered := make(chan struct{}, 10)
	p.start(p.options(completer(func(ctx context.Context, r model.Request) (model.Answer, error) {
		entered <- struct{}{}
		if r.Messages[len(r.Messages)-1].Text == "next" {
			return said("here"), nil
		}
		<-ctx.Done()
		return model.Answer{}, ctx.Err()
	})))
	inbox, got := p.inbox("one")
	m, other, next := p.message("s", 1, "text", inbox), p.message("s", 9, "other", inbox), p.message("s", 2, "next", inbox)
	p.publish(m)
	workerstest.Await(t, "it runs", entered)
	p.publish(next)
	id, err := contracts.ParseID(m.ID)
	must(t, err)
	busy, err := p.store.Abandon(t.Context(), id)
	must(t, err)
	if !busy {
		t.Fatal("a message that runs was finished by somebody else")
	}
	cancel := func(id contracts.ID) {
		must(t, p.nc.Publish(contracts.SubjectCancel(id.Conversation), contracts.EncodeCancel(id)))
	}
	wrong, err := contracts.ParseID(other.ID)
	must(t, err)
	cancel(wrong) // another message of the conversation: that is none of ours
	must(t, p.nc.Publish(contracts.SubjectCancel(m.Conversation), []byte("garbage")))
	cancel(id)
	if r := p.result(workerstest.Await(t, "the result", got)); r.ID != m.ID || r.Code != contracts.CodeStopped {
		t.Errorf("%+v", r)
	}
	if r := p.result(workerstest.Await(t, "the next one", got)); r.ID != next.ID || r.Reply != "here" {
		t.Errorf("%+v", r)
	}
	if busy, err := p.store.Abandon(t.Context(), id); busy || err != nil {
		t.Errorf("busy %v, %v", busy, err)
	}
	if n := len(entered); n != 1 {
		t.Errorf("%d further runs, want that of the next message", n)
	}
}

// A message that is abandoned before anybody runs it is never run.
func TestAbandonedBeforeTheRun(t *testing.T) {
	p := newPlant(t)
	inbox, got := p.inbox("one")
	m, next := p.message("s", 1, "text", inbox), p.message("s", 2, "next", inbox)
	p.publish(m)
	p.publish(next)
	id, err := contracts.ParseID(m.ID)
	must(t, err)
	busy, err := p.store.Abandon(t.Context(), id)
	must(t, err)
	if busy {
		t.Fatal("busy")
	}
	var runs atomic.Int64
	p.start(p.options(completer(func(context.Context, model.Request) (model.Answer, error) {
		runs.Add(1)
		return said("here"), nil
	})))
	results := map[string]contracts.Result{}
	for len(results) < 2 { // the order of replies is that of the deliveries
		r := p.result(workerstest.Await(t, "a reply", got))
		results[r.ID] = r
	}
	if r := results[m.ID]; r.Code != contracts.CodeStopped || r.Reply != "" {
		t.Errorf("%+v", r)
	}
	if r := results[next.ID]; r.Reply != "here" || runs.Load() != 1 {
		t.Errorf("%+v after %d runs", r, runs.Load())
	}
	workerstest.Eventually(t, "the stream is purged", func() bool {
		return len(workerstest.Contents(t, p.js, contracts.StreamChat)) == 0
	})
}
