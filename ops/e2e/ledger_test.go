package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"moltbot/workers/model/modeltest"
)

// ledger is the judge: a model that answers with what it was shown, and that
// records every call at its beginning, so that a call cut by a kill counts too.
type ledger struct{ model *modeltest.Server }

func newLedger(t *testing.T, delay time.Duration) *ledger {
	l := &ledger{model: modeltest.New(modeltest.Options{
		Key: "test-key", Reply: shown,
		Behave: func(modeltest.Request) modeltest.Behavior { return modeltest.Behavior{Latency: delay} },
	})}
	t.Cleanup(l.model.Close)
	return l
}

// shown lists the numbers of all user messages in the prompt: from it alone one
// sees a lost, doubled or swapped turn.
func shown(r modeltest.Request) string {
	var seen []string
	for _, m := range r.Messages {
		if m.Role == "user" {
			_, n, _ := strings.Cut(m.Content, "#")
			seen = append(seen, n)
		}
	}
	return "seen " + strings.Join(seen, ",")
}

// runs counts the model calls for each message, by its text.
func (l *ledger) runs() map[string]int {
	runs := make(map[string]int)
	for _, r := range l.model.Requests() {
		runs[r.LastUser()]++
	}
	return runs
}

// text is message n of a conversation.
func text(conversation, n int) string { return fmt.Sprintf("c%d #%d", conversation, n) }

// rounds is the window of the product's default configuration.
const rounds = 10

// expected is the answer to message n if everything before it was answered
// once and in order.
func expected(n int) string {
	var seen []string
	for i := max(0, n-rounds); i <= n; i++ {
		seen = append(seen, strconv.Itoa(i))
	}
	return "seen " + strings.Join(seen, ",")
}

// load is a run of many conversations.
type load struct {
	conversations, messages int
	pace                    time.Duration // between two messages of a conversation
	prefix                  string        // of sessions and keys
	enough                  chan struct{} // closed: send no further ones; nil: send them all
	accepted                atomic.Int64
	mu                      sync.Mutex
	odd                     []string // answers that are not the expected ones
}

// run sends every message, n+1 when n was accepted, and then fetches every
// answer. It fails on anything lost, refused, doubled or out of order.
func (l *load) run(ctx context.Context, c *client) error {
	ids := make([][]string, l.conversations)
	err := each(l.conversations, func(conv int) error {
		for n := 0; n < l.messages && !l.told(); n++ {
			id, err := c.accept(ctx, l.session(conv), text(conv, n), fmt.Sprintf("%s-%d-%d", l.prefix, conv, n))
			if err != nil {
				return fmt.Errorf("conversation %d message %d: %w", conv, n, err)
			}
			ids[conv] = append(ids[conv], id)
			l.accepted.Add(1)
			// Spread out: in step, all would be idle at the moment of most kills.
			wait(ctx, l.pace/2+rand.N(l.pace+1))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return each(l.conversations, func(conv int) error {
		for n, id := range ids[conv] {
			r, err := c.answer(ctx, id)
			if err != nil {
				return fmt.Errorf("conversation %d message %d (%s): %w", conv, n, id, err)
			}
			l.judge(conv, n, r.Reply)
		}
		return nil
	})
}

// told reports whether enough was sent.
func (l *load) told() bool {
	select {
	case <-l.enough:
		return true
	default:
		return false
	}
}

func (l *load) session(conv int) string { return fmt.Sprintf("%s-%d", l.prefix, conv) }

func (l *load) judge(conv, n int, got string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if got != expected(n) {
		l.odd = append(l.odd, fmt.Sprintf("conversation %d message %d: %q, want %q", conv, n, got, expected(n)))
	}
}

// inversions counts messages that were first run after a later one of their
// conversation. It needs nothing that the product stores.
func (l *ledger) inversions() (n int) {
	last, ran := make(map[string]int), make(map[string]bool)
	for _, r := range l.model.Requests() {
		if ran[r.LastUser()] {
			continue
		}
		ran[r.LastUser()] = true
		conversation, number, _ := strings.Cut(r.LastUser(), " #")
		at, _ := strconv.Atoi(number)
		if at < last[conversation] {
			n++
		}
		last[conversation] = max(last[conversation], at)
	}
	return n
}

// doubles counts runs beyond the first of a message.
func (l *ledger) doubles() (n int) {
	for _, runs := range l.runs() {
		n += runs - 1
	}
	return n
}

func each(n int, f func(i int) error) error {
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// report says what the run cost and fails the test on what must not be.
func (l *ledger) report(t *testing.T, o *load) {
	t.Helper()
	total, most, runs := 0, 0, l.runs()
	for c := range o.conversations {
		for n := range o.messages {
			total += runs[text(c, n)]
			most = max(most, runs[text(c, n)])
		}
	}
	messages := o.accepted.Load()
	t.Logf("%d messages accepted and answered; model runs per message %.4f (most for one: %d); odd answers %d",
		messages, float64(total)/float64(messages), most, len(o.odd))
	if len(o.odd) > 0 {
		slices.Sort(o.odd)
		t.Errorf("lost, doubled or reordered:\n%s", strings.Join(o.odd[:min(10, len(o.odd))], "\n"))
	}
}
