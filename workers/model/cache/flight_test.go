package cache

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/workers/model"
	"moltbot/workers/workerstest"
)

// A burst of the same question over two replicas is one call.
func TestBurst(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		open := make(chan struct{})
		u := &upstream{begun: make(chan struct{}, 1000), answer: gated(open, said("well"))}
		replicas := []model.Completer{replica(t, rdb).over(u), replica(t, rdb).over(u)}
		const burst = 1000
		results := make([]<-chan result, burst)
		for i := range results {
			results[i] = begin(t.Context(), replicas[i%2], asking("a", "hi"))
		}
		<-u.begun
		close(open)
		cached := 0
		for _, c := range results {
			r := workerstest.Await(t, "an answer", c)
			must(t, r.err)
			if r.answer.Text != "well" {
				t.Fatalf("%+v", r.answer)
			}
			if r.answer.Cached {
				cached++
			}
		}
		if n := u.calls.Load(); n != 1 || cached != burst-1 {
			t.Errorf("%d calls, %d of %d from the cache", n, cached, burst)
		}
		a, err := replicas[0].Complete(t.Context(), asking("b", "hi"))
		must(t, err)
		if a.Cached || u.calls.Load() != 2 {
			t.Error("another caller got the answer")
		}
	})
}

func TestFollowersReadAlong(t *testing.T) {
	c := replica(t, workerstest.MiniRedis(t))
	next := make(chan string)
	u := &upstream{answer: func(_ context.Context, r model.Request) (model.Answer, error) {
		for piece := range next {
			r.OnDelta(piece)
		}
		return said("one two"), nil
	}}
	var lead, early, late reader
	ask := func(to *reader) <-chan result {
		r := asking("a", "hi")
		r.OnDelta = to.add
		return begin(t.Context(), c.over(u), r)
	}
	leading := ask(&lead)
	next <- "one "
	following := ask(&early)
	workerstest.Eventually(t, "the follower reads what came before it", func() bool { text, _ := early.read(); return text == "one " })
	next <- "two"
	workerstest.Eventually(t, "and what comes after", func() bool { text, _ := early.read(); return text == "one two" })
	last := ask(&late)
	c.joined(t, 3)
	close(next)
	for _, r := range []<-chan result{leading, following, last} {
		must(t, workerstest.Await(t, "an answer", r).err)
	}
	for name, r := range map[string]*reader{"leader": &lead, "follower": &early, "late follower": &late} {
		if text, _ := r.read(); text != "one two" {
			t.Errorf("%s read %q", name, text)
		}
	}
}

// Who reads along although the leader does not gets all of it at the end; the
// call is not made in pieces for its sake.
func TestReaderBehindSilentLeader(t *testing.T) {
	c := replica(t, workerstest.MiniRedis(t))
	open := make(chan struct{})
	u := &upstream{begun: make(chan struct{}, 1), answer: func(ctx context.Context, r model.Request) (model.Answer, error) {
		if r.OnDelta != nil {
			t.Error("pieces are asked for that the leader does not read")
		}
		return gated(open, said("well"))(ctx, r)
	}}
	leading := begin(t.Context(), c.over(u), asking("a", "hi"))
	<-u.begun
	var read reader
	r := asking("a", "hi")
	r.OnDelta = read.add
	following := begin(t.Context(), c.over(u), r)
	c.joined(t, 2)
	close(open)
	must(t, workerstest.Await(t, "the leader", leading).err)
	must(t, workerstest.Await(t, "the follower", following).err)
	if text, pieces := read.read(); text != "well" || pieces != 1 {
		t.Errorf("read %q in %d pieces", text, pieces)
	}
}

// When nobody wants the answer the call ends, and the next one who asks begins anew.
func TestAllLeave(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		c := replica(t, rdb)
		u := &upstream{begun: make(chan struct{}, 9), answer: gated(nil, model.Answer{})}
		ctx, leave := context.WithCancel(t.Context())
		all := []<-chan result{begin(ctx, c.over(u), asking("a", "hi"))}
		<-u.begun
		for range 3 {
			all = append(all, begin(ctx, c.over(u), asking("a", "hi")))
		}
		c.joined(t, 4)
		leave()
		for _, r := range all {
			if r := workerstest.Await(t, "the end", r); !errors.Is(r.err, context.Canceled) {
				t.Errorf("%+v", r)
			}
		}
		if n := rdb.Exists(t.Context(), rdb.Keys(t.Context(), "flight:*").Val()...).Val(); n != 0 {
			t.Error("the lease was left behind")
		}
		u.answer = nil
		if a, err := c.over(u).Complete(t.Context(), asking("a", "hi")); err != nil || a.Cached {
			t.Errorf("afterwards: %+v, %v", a, err)
		}
	})
}

// A follower of a flight that is being cancelled would get an error that is none
// of its own: nobody can join one.
func TestNobodyJoinsWhatIsCancelled(t *testing.T) {
	c := replica(t, workerstest.MiniRedis(t))
	held := make(chan struct{})
	u := &upstream{begun: make(chan struct{}, 2), answer: func(ctx context.Context, _ model.Request) (model.Answer, error) {
		<-ctx.Done()
		<-held // it takes its time to end
		return model.Answer{}, ctx.Err()
	}}
	ctx, leave := context.WithCancel(t.Context())
	leading := begin(ctx, c.over(u), asking("a", "hi"))
	<-u.begun
	leave()
	workerstest.Eventually(t, "the flight is closed", func() bool {
		c.flights.mu.Lock()
		defer c.flights.mu.Unlock()
		return len(c.flights.open) == 0
	})
	second := begin(t.Context(), c.over(&upstream{}), asking("a", "hi"))
	close(held)
	if r := workerstest.Await(t, "the second", second); r.err != nil {
		t.Errorf("%+v", r)
	}
	if r := workerstest.Await(t, "the first", leading); !errors.Is(r.err, context.Canceled) {
		t.Errorf("%+v", r)
	}
}

func TestFailureIsSharedInTheProcess(t *testing.T) {
	c := replica(t, workerstest.MiniRedis(t))
	open := make(chan struct{})
	bad := &contracts.Error{Code: contracts.CodeModelFailed, Message: "no"}
	u := &upstream{begun: make(chan struct{}, 9), answer: func(context.Context, model.Request) (model.Answer, error) {
		<-open
		return model.Answer{}, bad
	}}
	leading := begin(t.Context(), c.over(u), asking("a", "hi"))
	<-u.begun
	following := begin(t.Context(), c.over(u), asking("a", "hi"))
	c.joined(t, 2)
	close(open)
	for _, r := range []<-chan result{leading, following} {
		if r := workerstest.Await(t, "the end", r); !errors.Is(r.err, bad) {
			t.Errorf("%+v", r)
		}
	}
}

// The lease of a process whose call failed is free at once, and another process
// makes its own call.
func TestFailureIsNotSharedAcrossProcesses(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		open := make(chan struct{})
		bad := &upstream{begun: make(chan struct{}, 1), answer: func(context.Context, model.Request) (model.Answer, error) {
			<-open
			return model.Answer{}, errors.New("no")
		}}
		leading := begin(t.Context(), replica(t, rdb).over(bad), asking("a", "hi"))
		<-bad.begun
		good := &upstream{}
		other := replica(t, rdb)
		waiting := begin(t.Context(), other.over(good), asking("a", "hi"))
		other.joined(t, 1)
		if good.calls.Load() != 0 {
			t.Error("it did not wait for the lease")
		}
		close(open)
		if r := workerstest.Await(t, "the first", leading); r.err == nil {
			t.Error("no error")
		}
		if r := workerstest.Await(t, "the second", waiting); r.err != nil || r.answer.Cached {
			t.Errorf("%+v", r)
		}
	})
}

// A process that is killed in flight leaves a lease behind. It runs out, and one
// of the others goes on.
func TestLeaderKilled(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		short := func(o *Options) { o.Lease = 300 * time.Millisecond }
		dead := replica(t, rdb, short)
		key, ok := dead.over(&upstream{}).(*cached).key(t.Context(), ptr(asking("a", "hi")))
		_, _, l, err := dead.remote.find(t.Context(), key)
		if !ok || err != nil || l == nil {
			t.Fatalf("no lease: %v, %v", ok, err)
		}
		l.timer.Stop() // it renews no more, as after SIGKILL
		u := &upstream{}
		var all []<-chan result
		for range 2 {
			c := replica(t, rdb, short).over(u)
			for range 50 {
				all = append(all, begin(t.Context(), c, asking("a", "hi")))
			}
		}
		for _, r := range all {
			if r := workerstest.Await(t, "an answer", r); r.err != nil || r.answer.Text != "well" {
				t.Fatalf("%+v", r)
			}
		}
		if n := u.calls.Load(); n != 1 {
			t.Errorf("%d calls", n)
		}
	})
}

func ptr[T any](v T) *T { return &v }

// The lease of a slow call is renewed: nobody makes a second one meanwhile.
func TestLeaseIsRenewed(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		c := replica(t, rdb, func(o *Options) { o.Lease = 300 * time.Millisecond })
		open := make(chan struct{})
		u := &upstream{begun: make(chan struct{}, 9), answer: gated(open, said("well"))}
		leading := begin(t.Context(), c.over(u), asking("a", "hi"))
		<-u.begun
		key := rdb.Keys(t.Context(), "flight:*").Val()[0]
		renewals := 0
		last := rdb.PTTL(t.Context(), key).Val()
		workerstest.Eventually(t, "five renewals", func() bool {
			left := rdb.PTTL(t.Context(), key).Val()
			if left < 0 {
				t.Fatal("the lease ran out")
			}
			if left > last {
				renewals++
			}
			last = left
			return renewals >= 5
		})
		close(open)
		must(t, workerstest.Await(t, "the answer", leading).err)
	})
}

func TestPanicIsNotWaitedFor(t *testing.T) {
	c := replica(t, workerstest.MiniRedis(t))
	open := make(chan struct{})
	u := &upstream{begun: make(chan struct{}, 9), answer: func(context.Context, model.Request) (model.Answer, error) {
		<-open
		panic("a bug")
	}}
	var over sync.WaitGroup
	over.Go(func() {
		defer func() { _ = recover() }()
		_, _ = c.over(u).Complete(context.Background(), asking("a", "hi"))
	})
	<-u.begun
	following := begin(t.Context(), c.over(u), asking("a", "hi"))
	c.joined(t, 2)
	close(open)
	if r := workerstest.Await(t, "the follower", following); !contracts.Retryable(r.err) {
		t.Errorf("%+v", r)
	}
	over.Wait()
}

// A follower whose reader panics no longer wants the answer: when the leader leaves,
// too, the call ends.
func TestAFollowerThatPanicsHasLeft(t *testing.T) {
	c := replica(t, workerstest.MiniRedis(t))
	ended := make(chan struct{})
	u := &upstream{begun: make(chan struct{}, 9), answer: func(ctx context.Context, r model.Request) (model.Answer, error) {
		r.OnDelta("a piece")
		<-ctx.Done()
		close(ended)
		return model.Answer{}, ctx.Err()
	}}
	ctx, leave := context.WithCancel(t.Context())
	lead := asking("a", "hi")
	lead.OnDelta = func(string) {}
	leading := begin(ctx, c.over(u), lead)
	<-u.begun
	follow := asking("a", "hi")
	follow.OnDelta = func(string) { panic("a bug") }
	func() {
		defer func() { _ = recover() }()
		_, _ = c.over(u).Complete(t.Context(), follow)
	}()
	leave()
	workerstest.Await(t, "the end of the call", ended)
	if r := workerstest.Await(t, "the leader", leading); !errors.Is(r.err, context.Canceled) {
		t.Errorf("%+v", r)
	}
}

func TestWithoutRedis(t *testing.T) {
	server := workerstest.StartRedis(t)
	rdb := server.Client(t)
	c := replica(t, rdb, func(o *Options) { o.Pause = time.Minute })
	open := make(chan struct{})
	u := &upstream{begun: make(chan struct{}, 9), answer: gated(open, said("well"))}
	leading := begin(t.Context(), c.over(u), asking("a", "hi"))
	<-u.begun
	server.Kill() // in the middle of a call
	close(open)
	if r := workerstest.Await(t, "the answer", leading); r.err != nil || r.answer.Text != "well" {
		t.Errorf("%+v", r)
	}
	for range 3 { // and before one
		a, err := c.over(u).Complete(t.Context(), asking("a", "again"))
		if err != nil || a.Text != "well" || a.Cached {
			t.Errorf("%+v, %v", a, err)
		}
	}
	if n := u.calls.Load(); n != 4 {
		t.Errorf("%d calls", n)
	}
}
