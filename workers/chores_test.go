package workers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/model"
	"moltbot/workers/workerstest"
)

// choreList records what it is asked, or does it.
type choreList struct {
	mu    sync.Mutex
	asked []string
	do    func(ctx context.Context, conversation, upto string) error
}

func (c *choreList) Summarize(ctx context.Context, conversation, upto string) error {
	c.mu.Lock()
	c.asked = append(c.asked, conversation+" "+upto)
	do := c.do
	c.mu.Unlock()
	if do == nil {
		return nil
	}
	return do(ctx, conversation, upto)
}

func (c *choreList) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.asked)
}

// grown is a commit after which a prompt holds kept turns.
func grown(upto string, kept int) mailbox.Outcome {
	return mailbox.Outcome{Memory: &history{fallen: fallen{kept: kept, upto: upto}}}
}

func TestSummariesAreAskedFor(t *testing.T) {
	list, m := &choreList{}, newMetrics(nil, time.Now)
	s := newSummaries(&Options{Chores: list, SummarizeAfter: 5}, m)
	for _, step := range []struct {
		entries int
		o       mailbox.Outcome
	}{
		{14, grown("early", 10)},                         // four fell out
		{15, grown("a", 10)},                             // asked
		{16, grown("b", 10)},                             // and again soon: the task may be at it
		{19, grown("c", 10)},                             //
		{20, grown("d", 10)},                             // it is not: asked
		{15, grown("e", 10)},                             // it was folded meanwhile: asked
		{7, grown("f", 2)},                               // few fit: asked
		{9, grown("", 2)},                                // not known which
		{99, mailbox.Outcome{}},                          // nothing is remembered
		{99, mailbox.Outcome{Memory: "of another kind"}}, //
	} {
		s.committed(mailbox.Task{Conversation: "x"}, step.o, step.entries)
	}
	s.start()() // asks what waits
	got := list.all()
	slices.Sort(got)
	if want := []string{"x a", "x d", "x e", "x f"}; !slices.Equal(got, want) {
		t.Errorf("asked %v, want %v", got, want)
	}
	s.committed(mailbox.Task{Conversation: "x"}, grown("late", 10), 99) // a straggler of a stop
	if n := testutil.ToFloat64(m.summaries[summaryAsked]); n != 4 {
		t.Errorf("%v counted", n)
	}
}

// What cannot be asked is asked by the next turn, and never waited for.
func TestSummariesThatCannotBeAsked(t *testing.T) {
	list := &choreList{do: func(context.Context, string, string) error { return errors.New("down") }}
	m := newMetrics(nil, time.Now)
	s := newSummaries(&Options{Chores: list, SummarizeAfter: 5}, m)
	stop := s.start()
	s.committed(mailbox.Task{Conversation: "x"}, grown("a", 10), 15)
	workerstest.Eventually(t, "it failed", func() bool { return testutil.ToFloat64(m.summaries[summaryFailed]) == 1 })
	workerstest.Eventually(t, "it is asked again", func() bool {
		s.committed(mailbox.Task{Conversation: "x"}, grown("b", 10), 16)
		return slices.Contains(list.all(), "x b")
	})
	stop()

	release := make(chan struct{})
	list = &choreList{do: func(ctx context.Context, _, _ string) error {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return ctx.Err()
	}}
	s = newSummaries(&Options{Chores: list, SummarizeAfter: 5}, m)
	stop = s.start()
	for n := range choreRoom + choreHands + 10 {
		s.committed(mailbox.Task{Conversation: fmt.Sprint(n)}, grown("a", 10), 15)
	}
	if n := testutil.ToFloat64(m.summaries[summaryDropped]); n < 10 {
		t.Errorf("%v dropped", n)
	}
	close(release)
	stop()
	if n := len(list.all()); n < choreRoom {
		t.Errorf("%d of what waited were asked at the stop", n)
	}
}

// A stop does not wait for a store that hangs.
func TestStopOfSummaries(t *testing.T) {
	list := &choreList{do: func(ctx context.Context, _, _ string) error { <-ctx.Done(); return ctx.Err() }}
	s := newSummaries(&Options{Chores: list, SummarizeAfter: 5}, nil)
	stop := s.start()
	for n := range 100 {
		s.committed(mailbox.Task{Conversation: fmt.Sprint(n)}, grown("a", 10), 15)
	}
	done := make(chan struct{})
	go func() { stop(); close(done) }()
	workerstest.Await(t, "the stop", done)
}

func TestKnownConversationsAreBounded(t *testing.T) {
	s := newSummaries(&Options{Chores: &choreList{}, SummarizeAfter: 5}, nil)
	for n := range 3 * choreMemory {
		s.committed(mailbox.Task{Conversation: fmt.Sprint(n)}, grown("a", 10), 15)
		select {
		case <-s.waiting:
		default:
		}
	}
	if len(s.asked) > choreMemory {
		t.Errorf("%d conversations are remembered", len(s.asked))
	}
}

// A summary comes with the turns, from Redis and from memory; one that does not
// open silences nobody.
func TestTurnWithASummary(t *testing.T) {
	p := newPlant(t)
	m := p.message("s", 2, "and now?", "")
	sum, err := p.store.SealSummary(m.Conversation, contracts.Summary{Upto: p.message("s", 0, "", "").ID, Text: "she said \"x\"", Turns: 3})
	must(t, err)
	other, err := p.store.SealSummary(p.message("other", 0, "", "").Conversation, contracts.Summary{Upto: "i", Text: "theirs"})
	must(t, err)
	var prompt []model.Message
	tn := p.turn(func(_ context.Context, r model.Request) (model.Answer, error) {
		prompt = r.Messages
		return said("well"), nil
	})
	tn.metrics = newMetrics(prometheus.NewRegistry(), time.Now)
	run := func(task mailbox.Task) mailbox.Outcome {
		t.Helper()
		o, err := tn.Run(t.Context(), task)
		must(t, err)
		return o
	}
	task := p.task(m)
	task.Summary = sum
	o := run(task)
	if len(prompt) != 2 || prompt[0].Role != model.RoleUser || !strings.Contains(prompt[0].Text, `she said "x"`) {
		t.Errorf("prompt %+v", prompt)
	}
	if h := o.Memory.(*history); h.summary == nil || o.MemorySize < summarySize {
		t.Errorf("remembered %+v", h)
	}
	task.Summary, task.Memory, task.Known = nil, o.Memory, 1
	run(task)
	if len(prompt) != 4 || !strings.Contains(prompt[0].Text, "she said") {
		t.Errorf("prompt from memory %+v", prompt)
	}
	for n, bad := range [][]byte{other, []byte("garbage"), sum[:len(sum)-1]} {
		task.Summary, task.Memory = bad, nil
		run(task)
		if len(prompt) != 1 || testutil.ToFloat64(tn.metrics.unreadable) != float64(n+1) {
			t.Errorf("bad summary %d: prompt %+v", n, prompt)
		}
	}
}

// A fact that fell out of the window is told by the summary, to the end.
func TestAFactOutlivesTheWindow(t *testing.T) {
	const turns, fact = 60, "the-code-is-4711"
	p := newPlant(t)
	told := make(chan string, 1)
	o := p.options(completer(func(_ context.Context, r model.Request) (model.Answer, error) {
		var all []string
		for _, m := range r.Messages {
			all = append(all, m.Text)
		}
		told <- strings.Join(all, "\n")
		return said("well"), nil
	}))
	o.SummarizeAfter = 5
	var folded sync.WaitGroup
	list := &choreList{}
	list.do = func(ctx context.Context, conversation, upto string) error {
		_, err := p.store.Fold(ctx, conversation, upto, 5, func(_ context.Context, old contracts.Summary, turns []contracts.Turn) (contracts.Summary, error) {
			text := old.Text
			for _, u := range turns {
				if strings.Contains(u.User, fact) {
					text += " " + fact
				}
			}
			return contracts.Summary{Text: strings.TrimSpace(text) + "."}, nil
		})
		return err
	}
	o.Chores = list
	w, err := New(o)
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	folded.Go(func() { must(t, w.Run(ctx)) })
	defer folded.Wait()
	defer stop()
	subject, replies := p.inbox("ingress")
	misses := 0
	for n := 1; n <= turns; n++ {
		text := fmt.Sprintf("message %d", n)
		if n == 3 {
			text += " " + fact
		}
		p.publish(p.message("s", n, text, subject))
		prompt := workerstest.Await(t, "the prompt", told)
		workerstest.Await(t, "the reply", replies)
		if n >= 3 && !strings.Contains(prompt, fact) {
			misses++
			if n > 3+10+5+2 { // window, the turns that are waited for, and the task
				t.Errorf("turn %d does not know the fact", n)
			}
		}
	}
	conversation := p.message("s", 1, "", "").Conversation
	if left := p.rdb.LLen(t.Context(), contracts.KeySession(conversation)).Val(); left > 20 || left < 10 {
		t.Errorf("%d turns are left", left)
	}
	t.Logf("the fact was out of the prompt for %d turns; asked %d times", misses, len(list.all()))
}
