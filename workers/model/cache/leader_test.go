package cache

import (
	"context"
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"

	"moltbot/workers/model"
	"moltbot/workers/workerstest"
)

// A leader that leaves before anybody saw some of the answer is free at once. One
// of those who wait makes a new call, and all of them get its answer.
func TestLeaderLeaves(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		for name, read := range map[string]func(string){"silent": nil, "reading along": func(string) {}} {
			t.Run(name, func(t *testing.T) {
				must(t, rdb.FlushAll(t.Context()).Err())
				c := replica(t, rdb)
				open := make(chan struct{})
				u := &upstream{begun: make(chan struct{}, 9), answer: gated(open, said("well"))}
				ask := func(ctx context.Context) <-chan result {
					r := asking("a", "hi")
					r.OnDelta = read
					return begin(ctx, c.over(u), r)
				}
				ctx, leave := context.WithCancel(t.Context())
				leading := ask(ctx)
				<-u.begun
				all := []<-chan result{ask(t.Context()), ask(t.Context()), ask(t.Context())}
				c.joined(t, 4)
				leave()
				if r := workerstest.Await(t, "the leader, while the others wait", leading); !errors.Is(r.err, context.Canceled) {
					t.Errorf("the leader: %+v", r)
				}
				<-u.begun
				c.joined(t, 3)
				close(open)
				paid := 0
				for _, r := range all {
					r := workerstest.Await(t, "a follower", r)
					if r.err != nil || r.answer.Text != "well" {
						t.Errorf("a follower: %+v", r)
					}
					if !r.answer.Cached {
						paid++
					}
				}
				if n := u.calls.Load(); n != 2 || paid != 1 {
					t.Errorf("%d calls, %d paid", n, paid)
				}
			})
		}
	})
}

// Once others were shown some of the answer, they get the rest of the same one.
func TestLeaderLeavesReaders(t *testing.T) {
	c := replica(t, workerstest.MiniRedis(t))
	next := make(chan string)
	u := &upstream{begun: make(chan struct{}, 9), answer: func(ctx context.Context, r model.Request) (model.Answer, error) {
		for piece := range next {
			r.OnDelta(piece)
		}
		return said("one two"), ctx.Err()
	}}
	var lead, follow reader
	ask := func(ctx context.Context, to *reader) <-chan result {
		r := asking("a", "hi")
		r.OnDelta = to.add
		return begin(ctx, c.over(u), r)
	}
	ctx, leave := context.WithCancel(t.Context())
	leading := ask(ctx, &lead)
	next <- "one "
	following := ask(t.Context(), &follow)
	c.joined(t, 2)
	leave()
	c.joined(t, 1)
	next <- "two"
	close(next)
	if r := workerstest.Await(t, "the follower", following); r.err != nil || r.answer.Text != "one two" {
		t.Errorf("the follower: %+v", r)
	}
	if text, _ := follow.read(); text != "one two" || u.calls.Load() != 1 {
		t.Errorf("read %q of %d calls", text, u.calls.Load())
	}
	if r := workerstest.Await(t, "the leader", leading); !errors.Is(r.err, context.Canceled) {
		t.Errorf("the leader: %+v", r)
	}
}
