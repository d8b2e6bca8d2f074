package session_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/workers/session"
	"moltbot/workers/workerstest"
)

// folding is a conversation with turns, and a writer of summaries that names the
// texts it was given.
type folding struct {
	t     *testing.T
	s     *session.Store
	rdb   redis.UniversalClient
	c     string
	ids   []string
	mu    sync.Mutex
	calls int
	// meanwhile runs while the model writes, in the n-th call.
	meanwhile func(n int)
}

func newFolding(t *testing.T, s *session.Store, rdb redis.UniversalClient, turns int) *folding {
	f := &folding{t: t, s: s, rdb: rdb, c: id(t, "c", 1).Conversation}
	must(t, rdb.HSet(t.Context(), contracts.KeyBox(f.c), "epoch", "3", "version", "w/7").Err())
	for range turns {
		f.say()
	}
	return f
}

// say adds a turn.
func (f *folding) say() {
	i := id(f.t, "c", len(f.ids)+1)
	f.ids = append(f.ids, i.String())
	must(f.t, f.rdb.RPush(f.t.Context(), contracts.KeySession(f.c), sealTurn(f.t, f.s, i, fmt.Sprintf("t%d", len(f.ids)))).Err())
	must(f.t, f.rdb.PExpire(f.t.Context(), contracts.KeySession(f.c), 10*time.Minute).Err())
}

func (f *folding) write(_ context.Context, old contracts.Summary, turns []contracts.Turn) (contracts.Summary, error) {
	f.mu.Lock()
	f.calls++
	n := f.calls
	f.mu.Unlock()
	if f.meanwhile != nil {
		f.meanwhile(n)
	}
	words := strings.Fields(old.Text)
	for _, t := range turns {
		words = append(words, t.User)
	}
	return contracts.Summary{Text: strings.Join(words, " "), Model: "m", Tokens: len(words), At: time.UnixMilli(int64(n))}, nil
}

// fold folds up to the n-th turn, counted from 1.
func (f *folding) fold(s *session.Store, n int) (contracts.Folded, error) {
	return s.Fold(f.t.Context(), f.c, f.ids[n-1], 2, f.write)
}

// want compares what is summarized, and how many turns are left.
func (f *folding) want(text string, left int) {
	f.t.Helper()
	got := ""
	b, err := f.rdb.Get(f.t.Context(), contracts.KeySummary(f.c)).Bytes()
	if err == nil {
		sum, err := f.s.OpenSummary(f.c, b)
		must(f.t, err)
		got = sum.Text
		if n := len(strings.Fields(got)); sum.Turns != n || sum.Upto != f.ids[n-1] || sum.Model != "m" {
			f.t.Errorf("summary %+v", sum)
		}
	}
	if n := f.rdb.LLen(f.t.Context(), contracts.KeySession(f.c)).Val(); got != text || int(n) != left {
		f.t.Errorf("summary %q and %d turns, want %q and %d", got, n, text, left)
	}
}

func (f *folding) wantFold(n int, want contracts.Folded) {
	f.t.Helper()
	if got, err := f.fold(f.s, n); got != want || err != nil {
		f.t.Errorf("%q, %v, want %q", got, err, want)
	}
}

func TestFold(t *testing.T) {
	each(t, func(t *testing.T, s *session.Store, rdb redis.UniversalClient) {
		f := newFolding(t, s, rdb, 6)
		f.wantFold(3, contracts.FoldedAll)
		f.want("t1 t2 t3", 3)
		if v := rdb.HGet(t.Context(), contracts.KeyBox(f.c), "version").Val(); v != "folded" {
			t.Errorf("version %q: workers go on with what they remember", v)
		}
		ttl := rdb.PTTL(t.Context(), contracts.KeySummary(f.c)).Val()
		if left := rdb.PTTL(t.Context(), contracts.KeySession(f.c)).Val(); ttl < left-5*time.Second || ttl > left+5*time.Second {
			t.Errorf("the summary lives for %s, the turns for %s", ttl, left)
		}
		f.wantFold(3, contracts.FoldedNone) // again
		f.wantFold(4, contracts.FoldedNone) // one turn is too few
		if f.calls != 1 {
			t.Errorf("%d calls", f.calls)
		}
		f.wantFold(5, contracts.FoldedAll)
		f.want("t1 t2 t3 t4 t5", 1)
		f.say()
		f.wantFold(7, contracts.FoldedAll)
		f.want("t1 t2 t3 t4 t5 t6 t7", 0)
	})
}

// A session may be longer than what a model reads at once.
func TestFoldInParts(t *testing.T) {
	each(t, func(t *testing.T, s *session.Store, rdb redis.UniversalClient) {
		f := newFolding(t, s, rdb, 70)
		f.wantFold(69, contracts.FoldedPart)
		f.wantFold(69, contracts.FoldedPart)
		f.wantFold(69, contracts.FoldedAll)
		if n := rdb.LLen(t.Context(), contracts.KeySession(f.c)).Val(); n != 1 || f.calls != 3 {
			t.Errorf("%d turns left, %d calls", n, f.calls)
		}
		large := newFolding(t, s, rdb, 0)
		large.c = id(t, "large", 1).Conversation
		for n := range 4 {
			i := id(t, "large", n+1)
			large.ids = append(large.ids, i.String())
			must(t, rdb.RPush(t.Context(), contracts.KeySession(large.c), sealTurn(t, s, i, strings.Repeat("x", 20_000))).Err())
		}
		for n := range 3 {
			must(t, rdb.Expire(t.Context(), contracts.KeySession(large.c), time.Minute).Err())
			if got, err := large.fold(s, 4); got != contracts.FoldedPart || err != nil {
				t.Errorf("%d: %q, %v", n, got, err)
			}
		}
		if large.calls != 3 {
			t.Errorf("%d calls for turns of which one alone is too large", large.calls)
		}
	})
}

// What happens while the model writes decides whether its work is kept.
func TestFoldMeanwhile(t *testing.T) {
	each(t, func(t *testing.T, s *session.Store, rdb redis.UniversalClient) {
		for name, c := range map[string]struct {
			do   func(f *folding)
			want contracts.Folded
			text string
			left int
		}{
			"a turn":                {func(f *folding) { f.say() }, contracts.FoldedAll, "t1 t2 t3", 4},
			"/new":                  {func(f *folding) { f.begin() }, contracts.FoldedNone, "", 0},
			"emptied":               {func(f *folding) { must(t, rdb.FlushDB(t.Context()).Err()) }, contracts.FoldedNone, "", 0},
			"erased turns":          {func(f *folding) { must(t, rdb.Del(t.Context(), contracts.KeySession(f.c)).Err()) }, contracts.FoldedChanged, "", 0},
			"the oldest left":       {func(f *folding) { must(t, rdb.LTrim(t.Context(), contracts.KeySession(f.c), 1, -1).Err()) }, contracts.FoldedChanged, "", 5},
			"the box is gone":       {func(f *folding) { must(t, rdb.Del(t.Context(), contracts.KeyBox(f.c)).Err()) }, contracts.FoldedNone, "", 6},
			"sealed anew":           {func(f *folding) { must(t, rdb.LSet(t.Context(), contracts.KeySession(f.c), 2, "other bytes").Err()) }, contracts.FoldedChanged, "", 6},
			"the first sealed anew": {func(f *folding) { must(t, rdb.LSet(t.Context(), contracts.KeySession(f.c), 0, "other bytes").Err()) }, contracts.FoldedChanged, "", 6},
			"another summary": {func(f *folding) {
				must(t, rdb.Set(t.Context(), contracts.KeySummary(f.c), "other bytes", time.Minute).Err())
			}, contracts.FoldedChanged, "-", 6},
			"another run": {func(f *folding) {
				f.meanwhile = nil
				f.wantFold(3, contracts.FoldedAll)
			}, contracts.FoldedChanged, "t1 t2 t3", 3},
		} {
			t.Run(name, func(t *testing.T) {
				must(t, rdb.FlushDB(t.Context()).Err())
				f := newFolding(t, s, rdb, 6)
				f.meanwhile = func(int) { c.do(f) }
				f.wantFold(3, c.want)
				if f.meanwhile = nil; c.text == "-" {
					if b := rdb.Get(t.Context(), contracts.KeySummary(f.c)).Val(); b != "other bytes" {
						t.Errorf("summary %q", b)
					}
					return
				}
				f.want(c.text, c.left)
				if got, err := f.fold(s, 3); err != nil && !strings.Contains(name, "sealed anew") || got == contracts.FoldedChanged {
					t.Errorf("again: %q, %v", got, err)
				}
			})
		}
	})
}

// cut is a Redis that breaks around the commands that a test names: before they
// are done, or after.
type cut struct {
	mu             sync.Mutex
	script         string
	before, behind int
	twice          int // the client did not hear the answer and asks again
}

var errCut = errors.New("connection cut")

func (c *cut) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c *cut) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (c *cut) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.mu.Lock()
		ours := len(cmd.Args()) > 1 && session.Scripts()[fmt.Sprint(cmd.Args()[1])] == c.script
		before, behind := ours && c.before > 0, ours && c.before == 0 && c.behind > 0
		if before {
			c.before--
		} else if behind {
			c.behind--
		} else if ours && c.twice > 0 {
			c.twice--
			c.mu.Unlock()
			_ = next(ctx, cmd)
			return next(ctx, cmd)
		}
		c.mu.Unlock()
		if before {
			cmd.SetErr(errCut)
			return errCut
		}
		err := next(ctx, cmd)
		if behind && err == nil {
			cmd.SetErr(errCut)
			return errCut
		}
		return err
	}
}

// Killed at any step and run again, there is one summary with each turn in it once.
func TestFoldCutAtEachStep(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		c := &cut{}
		rdb.AddHook(c)
		s := session.New(session.Options{Redis: rdb, Sealer: workerstest.Sealer{}})
		died := errors.New("killed")
		for name, step := range map[string]struct {
			cut   *cut
			model error
			calls int // of the model, in both runs
			again contracts.Folded
		}{
			"while reading":      {&cut{script: "unfolded", before: 1}, nil, 1, contracts.FoldedAll},
			"before the model":   {&cut{script: "unfolded", behind: 1}, nil, 1, contracts.FoldedAll},
			"in the model":       {&cut{}, died, 2, contracts.FoldedAll},
			"after the model":    {&cut{script: "fold", before: 1}, nil, 2, contracts.FoldedAll},
			"after the fold":     {&cut{script: "fold", behind: 1}, nil, 1, contracts.FoldedNone},
			"its answer is lost": {&cut{script: "fold", twice: 1}, nil, 1, contracts.FoldedNone},
		} {
			t.Run(name, func(t *testing.T) {
				must(t, rdb.FlushDB(t.Context()).Err())
				f := newFolding(t, s, rdb, 6)
				must(t, rdb.ScriptFlush(t.Context()).Err()) // the scripts are loaded again by their text
				_, _ = f.fold(s, 2)                         // and are known by their hash from here on
				f.calls = 0
				f.say()
				c.mu.Lock()
				c.script, c.before, c.behind, c.twice = step.cut.script, step.cut.before, step.cut.behind, step.cut.twice
				c.mu.Unlock()
				dying := step.model
				got, err := s.Fold(t.Context(), f.c, f.ids[4], 2, func(ctx context.Context, old contracts.Summary, turns []contracts.Turn) (contracts.Summary, error) {
					sum, _ := f.write(ctx, old, turns)
					return sum, dying
				})
				if whole := step.cut.twice > 0; (err == nil) != whole || whole && got != contracts.FoldedAll {
					t.Fatalf("the run was not cut: %q, %v", got, err)
				}
				if err != nil && step.model == nil && !contracts.Retryable(err) {
					t.Errorf("not tried again: %v", err)
				}
				f.wantFold(5, step.again)
				f.want("t1 t2 t3 t4 t5", 2)
				if f.calls != step.calls {
					t.Errorf("%d calls of the model, want %d", f.calls, step.calls)
				}
			})
		}
	})
}

// Two runs at once, again and again: each turn is folded once.
func TestFoldAtOnce(t *testing.T) {
	each(t, func(t *testing.T, s *session.Store, rdb redis.UniversalClient) {
		f := newFolding(t, s, rdb, 40)
		var runs sync.WaitGroup
		for range 4 {
			runs.Go(func() {
				for n := 2; n <= 40; n += 2 {
					for {
						folded, err := f.fold(s, n)
						if err != nil {
							t.Error(err)
							return
						}
						if folded != contracts.FoldedChanged {
							break
						}
					}
				}
			})
		}
		runs.Wait()
		var all []string
		for n := range 40 {
			all = append(all, fmt.Sprintf("t%d", n+1))
		}
		f.want(strings.Join(all, " "), 0)
	})
}

// What this process cannot open another one may: nothing is thrown away.
func TestFoldLeavesWhatDoesNotOpen(t *testing.T) {
	each(t, func(t *testing.T, s *session.Store, rdb redis.UniversalClient) {
		f := newFolding(t, s, rdb, 4)
		other := id(t, "other", 9)
		moved := sealTurn(t, s, other, "from elsewhere")
		must(t, rdb.LSet(t.Context(), contracts.KeySession(f.c), 1, moved).Err())
		if _, err := f.fold(s, 4); !contracts.Retryable(err) || f.calls != 0 {
			t.Errorf("%v, %d calls", err, f.calls)
		}
		f.want("", 4)
		must(t, rdb.FlushDB(t.Context()).Err())
		f = newFolding(t, s, rdb, 4)
		sum, err := s.SealSummary(other.Conversation, contracts.Summary{Upto: other.String(), Text: "theirs"})
		must(t, err)
		must(t, rdb.Set(t.Context(), contracts.KeySummary(f.c), sum, time.Minute).Err())
		if _, err := f.fold(s, 4); !contracts.Retryable(err) || f.calls != 0 {
			t.Errorf("%v, %d calls", err, f.calls)
		}
		if n := rdb.LLen(t.Context(), contracts.KeySession(f.c)).Val(); n != 4 {
			t.Errorf("%d turns left", n)
		}
		must(t, rdb.Set(t.Context(), contracts.KeySummary(f.c), "garbage", time.Minute).Err())
		if _, err := f.fold(s, 4); !contracts.Retryable(err) {
			t.Error(err)
		}
		must(t, rdb.Del(t.Context(), contracts.KeySession(f.c)).Err())
		must(t, rdb.Set(t.Context(), contracts.KeySession(f.c), "not a list", time.Minute).Err())
		if _, err := f.fold(s, 4); !contracts.Retryable(err) {
			t.Error(err)
		}
	})
}

func FuzzOpenSummary(f *testing.F) {
	s := session.New(session.Options{Sealer: workerstest.Sealer{}})
	sealed, err := s.SealSummary("c", contracts.Summary{Upto: "i", Text: "text", Turns: 3})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add([]byte("4 i x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if sum, err := s.OpenSummary("c", b); err == nil {
			if _, err := s.OpenSummary("other", b); err == nil {
				t.Errorf("%+v opens elsewhere", sum)
			}
		}
	})
}

// begin forgets what was said, as the commit of /new does.
func (f *folding) begin() {
	must(f.t, f.rdb.Del(f.t.Context(), contracts.KeySession(f.c), contracts.KeySummary(f.c)).Err())
	must(f.t, f.rdb.HIncrBy(f.t.Context(), contracts.KeyBox(f.c), "epoch", 1).Err())
	must(f.t, f.rdb.HDel(f.t.Context(), contracts.KeyBox(f.c), "version", "turns", "bytes", "born").Err())
}
