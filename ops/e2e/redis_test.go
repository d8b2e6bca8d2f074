package e2e

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/workers/model/modeltest"
)

// number is what the callers of TestRedisFaults say, and nothing else says.
var number = regexp.MustCompile(`c\d+ #\d+`)

// TestRedisFaults lets Redis fail in every way that loses nothing, under
// conversations that are summarized meanwhile: each message is answered once and
// in order, each turn is folded once, no task is left behind.
func TestRedisFaults(t *testing.T) {
	t.Parallel() // it waits more than it works
	m := modeltest.New(modeltest.Options{Key: "test-key", Reply: func(r modeltest.Request) string {
		if text, ok := modeltest.Summary(r, number); ok {
			return text
		}
		r.Messages = slices.DeleteFunc(slices.Clone(r.Messages), func(m modeltest.Message) bool { return strings.Contains(m.Content, "earlier_conversation") })
		return shown(r)
	}})
	t.Cleanup(m.Close)
	// A lease that ran out while Redis was away would let what runs be run again.
	const lease = 4 * time.Second
	y := build(t, shape{workers: 2, model: m, settings: fmt.Sprintf("scheduler: {retry_base: 200ms, retry_max: 1s}\n"+
		"queue: {ack_wait: 3s, beat: 1s, lease: %s, busy_delay: 200ms, retry_base: 100ms, retry_max: 1s}\n", lease)})
	if y.redis == nil {
		t.Skip("needs redis-server on PATH: the stand-in has no such faults")
	}
	y.scheduler("scheduler0")
	ctx := timeLimit(t)
	talk, stop := context.WithCancel(ctx)
	defer stop()
	callers := &talkers{c: y.client(), n: 6}
	var wg sync.WaitGroup
	callers.start(talk, ctx, &wg)
	goOn := func(turns int64) {
		t.Helper()
		want := callers.answered.Load() + turns*int64(callers.n)
		eventually(t, 40*time.Second, "answers", func() bool { return callers.answered.Load() >= want })
	}
	goOn(4)
	hold := size(1500*time.Millisecond, 3*time.Second)
	for _, fault := range []struct {
		name       string
		begin, end func()
		during     func()
	}{
		{"killed", y.redis.kill, y.redis.start, nil},
		{"stopped", func() { y.redis.signal(syscall.SIGSTOP) }, func() { y.redis.signal(syscall.SIGCONT) }, nil},
		{"out of memory", y.tell("config", "set", "maxmemory", "1"), y.tell("config", "set", "maxmemory", "0"), func() { y.readsGoOn(ctx, callers) }},
		{"READONLY", y.tell("replicaof", "127.0.0.1", "1"), y.tell("replicaof", "no", "one"), nil},
	} {
		began := time.Now()
		fault.begin()
		if fault.during != nil {
			fault.during()
		}
		wait(ctx, hold-time.Since(began))
		fault.end()
		back := time.Now()
		goOn(6)
		t.Logf("%s for %s; %s later every caller has 6 answers more", fault.name, back.Sub(began).Round(time.Millisecond), time.Since(back).Round(time.Millisecond))
	}
	stop()
	wg.Wait()
	callers.judge(t)
	y.foldedOnce(ctx, callers)
	runs, again := 0, 0
	for _, r := range m.Requests() {
		if _, ok := modeltest.Summary(r, number); !ok {
			runs++
		}
	}
	if again = runs - int(callers.answered.Load()); again != 0 {
		t.Errorf("%d of %d messages were run again", again, callers.answered.Load())
	}
	if t.Failed() {
		y.dump()
	}
}

// tell gives a function that sends Redis a command, past the product.
func (y *system) tell(args ...any) func() {
	return func() {
		y.t.Helper()
		if err := y.rdb.Do(context.Background(), args...).Err(); err != nil {
			y.t.Fatalf("%v: %v", args, err)
		}
	}
}

// readsGoOn while Redis takes no writes: what is stored is shown, new messages
// wait in the queue, and operators are told.
func (y *system) readsGoOn(ctx context.Context, callers *talkers) {
	y.t.Helper()
	r, err := callers.c.do(ctx, http.MethodGet, "/api/chat/"+callers.first.Load().(string), "", nil)
	expect(y.t, r, err, http.StatusOK, "")
	r, err = callers.c.do(ctx, http.MethodGet, "/api/sessions", "", nil)
	expect(y.t, r, err, http.StatusOK, "")
	r, err = callers.c.chat(ctx, "keyed", "hello", "a-key", 0)
	expect(y.t, r, err, http.StatusServiceUnavailable, contracts.CodeStoreDown)
	r, err = callers.c.chat(ctx, "unkeyed", "hello", "", 0)
	expect(y.t, r, err, http.StatusAccepted, "")
	callers.answered.Add(1) // in the end, see below
	callers.extra = r.reply.ID
	if !y.ready() {
		y.t.Error("not ready, though what is read is there")
	}
	eventually(y.t, 10*time.Second, "a worker says why it pauses", func() bool {
		n := 0
		for _, w := range y.workers {
			n += w.lines("Redis takes no writes")
		}
		return n > 0
	})
}

// foldedOnce waits until every conversation is summarized as far as it goes, and
// looks that its turns and those of its summary are all that were said.
func (y *system) foldedOnce(ctx context.Context, callers *talkers) {
	y.t.Helper()
	for lane := range callers.n {
		var s contracts.SessionDetail
		path := fmt.Sprintf("/api/sessions/%s?limit=100", callers.session(lane))
		eventually(y.t, 30*time.Second, "the session is summarized", func() bool {
			if err := callers.c.get(ctx, path, &s); err != nil {
				y.t.Fatal(err)
			}
			return s.Summary != nil && len(s.Turns) < rounds+2*5 // see TestSummaries
		})
		if said := callers.said[lane]; s.Summary.Rounds+len(s.Turns) != said || s.Unreadable != 0 {
			y.t.Errorf("lane %d: %d rounds are summarized and %d left of %d, %d unreadable", lane, s.Summary.Rounds, len(s.Turns), said, s.Unreadable)
		}
		for n := range s.Summary.Rounds {
			if !strings.Contains(s.Summary.Text+",", text(lane, n)+",") && !strings.Contains(s.Summary.Text, text(lane, n)+".") {
				y.t.Errorf("lane %d: message %d is not in the summary", lane, n)
			}
		}
	}
	eventually(y.t, 20*time.Second, "no task is left", func() bool {
		for _, task := range y.tasks().Tasks {
			if task.State != "completed" {
				return false
			}
		}
		return true
	})
	if callers.extra != "" {
		if _, err := callers.c.answer(ctx, callers.extra); err != nil {
			y.t.Error(err)
		}
	}
}

// talkers are callers that talk on whatever happens, each in a session of its own.
type talkers struct {
	c        *client
	n        int
	answered atomic.Int64
	first    atomic.Value // an id that was answered
	extra    string       // the id of one more message

	mu   sync.Mutex
	said [16]int // by lane
	odd  []string
}

func (k *talkers) session(lane int) string { return fmt.Sprintf("talk-%d", lane) }

// start talks until talk ends; what was begun then is finished.
func (k *talkers) start(talk, ctx context.Context, wg *sync.WaitGroup) {
	for lane := range k.n {
		wg.Go(func() {
			for n := 0; talk.Err() == nil; n++ {
				id, err := k.c.accept(ctx, k.session(lane), text(lane, n), fmt.Sprintf("talk-%d-%d", lane, n))
				var r contracts.ChatReply
				if err == nil {
					r, err = k.c.answer(ctx, id)
				}
				k.note(lane, n, r, err)
				if err != nil {
					return
				}
				k.first.CompareAndSwap(nil, id)
				k.answered.Add(1)
				wait(talk, 20*time.Millisecond)
			}
		})
	}
}

func (k *talkers) note(lane, n int, r contracts.ChatReply, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.said[lane] = n + 1
	if err != nil || r.Reply != expected(n) {
		k.odd = append(k.odd, fmt.Sprintf("lane %d message %d: %q, want %q; %v", lane, n, r.Reply, expected(n), err))
	}
}

func (k *talkers) judge(t *testing.T) {
	t.Helper()
	if t.Logf("%d messages", k.answered.Load()); len(k.odd) > 0 {
		t.Errorf("lost, doubled or reordered:\n%s", strings.Join(k.odd[:min(10, len(k.odd))], "\n"))
	}
}
