package mailbox_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
)

// ledger is what was seen from outside the mailbox.
type ledger struct {
	mu        sync.Mutex
	sent      map[string][]string // conversation: ids in the order they were published
	runs      map[string]int      // id: runs begun
	judged    map[string]bool     // id: a run has brought an outcome, or Fail has
	replies   map[string][]string // id: results handed to Reply
	overtaken []string            // what began before its predecessor was judged
}

func newLedger() *ledger {
	return &ledger{
		sent: map[string][]string{}, runs: map[string]int{}, judged: map[string]bool{}, replies: map[string][]string{},
	}
}

func (l *ledger) published(conversation, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[conversation] = append(l.sent[conversation], id)
}

func (l *ledger) begins(t mailbox.Task) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs[t.ID]++
	sent := l.sent[t.Conversation]
	if i := slices.Index(sent, t.ID); i > 0 && !l.judged[sent[i-1]] {
		l.overtaken = append(l.overtaken, fmt.Sprintf("%v before %v", short(sent[i:i+1]), short(sent[i-1:i])))
	}
}

func (l *ledger) judge(t mailbox.Task) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.judged[t.ID] = true
}

func (l *ledger) replied(t mailbox.Task, o mailbox.Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.replies[t.ID] = append(l.replies[t.ID], string(o.Result))
}

func (l *ledger) runsOf(id string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.runs[id]
}

func (l *ledger) repliesOf(id string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.replies[id])
}

// totals counts messages, runs, and messages with a reply.
func (l *ledger) totals() (messages, runs, replied int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ids := range l.sent {
		messages += len(ids)
	}
	for _, n := range l.runs {
		runs += n
	}
	return messages, runs, len(l.replies)
}

// inOrder says that no run began before its predecessor had an outcome. The
// replies to waiting requests are not judged: the conversation is free from the
// commit on, so they may overtake each other on the wire.
func (l *ledger) inOrder(t testing.TB) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.overtaken {
		t.Error("run", o)
	}
}

// actor is the Runner: it answers at once unless the test says otherwise.
type actor struct {
	ledger *ledger
	run    func(ctx context.Context, t mailbox.Task) (mailbox.Outcome, error)
}

func (a *actor) Run(ctx context.Context, t mailbox.Task) (mailbox.Outcome, error) {
	a.ledger.begins(t)
	o, err := answer(t), error(nil)
	if a.run != nil {
		o, err = a.run(ctx, t)
	}
	if err == nil {
		a.ledger.judge(t)
	}
	return o, err
}

func (a *actor) Fail(t mailbox.Task, err *contracts.Error) mailbox.Outcome {
	a.ledger.judge(t)
	return mailbox.Outcome{Result: []byte("failed " + string(err.Code))}
}

func (a *actor) Reply(_ context.Context, t mailbox.Task, o mailbox.Outcome) { a.ledger.replied(t, o) }

func answer(t mailbox.Task) mailbox.Outcome {
	return mailbox.Outcome{Turn: []byte(t.ID), Result: []byte("answer " + t.ID)}
}

// answerOut is an answer that goes to SEND.
func answerOut(t mailbox.Task) mailbox.Outcome {
	o := answer(t)
	o.Out, _ = contracts.EncodeOutgoing(contracts.Outgoing{
		ID: t.ID, Conversation: t.Conversation, Channel: "dingtalk", Data: []byte("out " + t.ID),
	})
	return o
}

// short cuts ids down to what differs.
func short(ids []string) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		p, err := contracts.ParseID(id)
		if err != nil {
			out[i] = id
			continue
		}
		out[i] = p.At.Format("m05.000")
	}
	return out
}
