package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"moltbot/workers/model/modeltest"
)

// ledger is the judge: a model that answers with what it was shown, and a
// record of every run.
type ledger struct {
	model *modeltest.Server
	mu    sync.Mutex
	runs  map[string]int   // by the message's text
	first map[string][]int // by conversation: the messages in the order of their first run
}

func newLedger(t *testing.T, delay time.Duration) *ledger {
	l := &ledger{runs: make(map[string]int), first: make(map[string][]int)}
	l.model = modeltest.New(modeltest.Options{
		Key: "test-key", Reply: l.reply,
		Behave: func(modeltest.Request) modeltest.Behavior { return modeltest.Behavior{Latency: delay} },
	})
	t.Cleanup(l.model.Close)
	return l
}

// reply lists the numbers of all user messages in the prompt: from it alone one
// sees a lost, doubled or swapped turn.
func (l *ledger) reply(r modeltest.Request) string {
	var seen []string
	for _, m := range r.Messages {
		if m.Role == "user" {
			_, n, _ := strings.Cut(m.Content, "#")
			seen = append(seen, n)
		}
	}
	conversation, number, _ := strings.Cut(r.LastUser(), " #")
	n, _ := strconv.Atoi(number)
	l.mu.Lock()
	if l.runs[r.LastUser()]++; l.runs[r.LastUser()] == 1 {
		l.first[conversation] = append(l.first[conversation], n)
	}
	l.mu.Unlock()
	return "seen " + strings.Join(seen, ",")
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
	accepted                atomic.Int64
	mu                      sync.Mutex
	odd                     []string // answers that are not the expected ones
}

// run sends every message, n+1 when n was accepted, and then fetches every
// answer. It fails on anything lost, refused, doubled or out of order.
func (l *load) run(ctx context.Context, c *client) error {
	ids := make([][]string, l.conversations)
	err := each(l.conversations, func(conv int) error {
		ids[conv] = make([]string, l.messages)
		for n := range l.messages {
			id, err := c.accept(ctx, l.session(conv), text(conv, n), fmt.Sprintf("%s-%d-%d", l.prefix, conv, n))
			if err != nil {
				return fmt.Errorf("conversation %d message %d: %w", conv, n, err)
			}
			ids[conv][n] = id
			l.accepted.Add(1)
			wait(ctx, l.pace)
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
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, order := range l.first {
		for i := 1; i < len(order); i++ {
			if order[i] < order[i-1] {
				n++
			}
		}
	}
	return n
}

// doubles counts runs beyond the first of a message.
func (l *ledger) doubles() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, runs := range l.runs {
		n += runs - 1
	}
	return n
}

func (l *ledger) ran(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.runs[text] > 0
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
	l.mu.Lock()
	total, most := 0, 0
	for c := range o.conversations {
		for n := range o.messages {
			total += l.runs[text(c, n)]
			most = max(most, l.runs[text(c, n)])
		}
	}
	l.mu.Unlock()
	messages := o.conversations * o.messages
	t.Logf("%d messages accepted and answered; model runs per message %.4f (most for one: %d); odd answers %d",
		messages, float64(total)/float64(messages), most, len(o.odd))
	if len(o.odd) > 0 {
		slices.Sort(o.odd)
		t.Errorf("lost, doubled or reordered:\n%s", strings.Join(o.odd[:min(10, len(o.odd))], "\n"))
	}
}
