package owner_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/ingress/owner"
)

var key = contracts.KeyOwner(contracts.ChannelFeishu, contracts.DefaultApp)

// process is one of those that want to be the owner.
type process struct {
	*owner.Owner
	began, ended chan struct{}
	stop         func() // and waits
	cut          *cut
}

// cut stands between a process and Redis.
type cut struct{ off atomic.Bool }

var errCut = errors.New("cut off")

func (c *cut) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c *cut) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (c *cut) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if c.off.Load() {
			cmd.SetErr(errCut)
			return errCut
		}
		return next(ctx, cmd)
	}
}

func start(t *testing.T, rdb *redis.Client, name string, o owner.Options) *process {
	t.Helper()
	p := &process{began: make(chan struct{}, 16), ended: make(chan struct{}, 16), cut: &cut{}}
	own := client(t, rdb.Options())
	own.AddHook(p.cut)
	o.Redis, o.Key, o.Token = own, key, name
	var err error
	p.Owner, err = owner.New(o)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		p.Run(ctx, func(ctx context.Context) {
			p.began <- struct{}{}
			<-ctx.Done()
			p.ended <- struct{}{}
		})
	})
	p.stop = func() { cancel(); running.Wait() }
	t.Cleanup(p.stop)
	return p
}

func comes(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patient):
		t.Fatalf("not in time: %s", what)
	}
}

func quick() owner.Options {
	return owner.Options{TTL: 600 * time.Millisecond, Renew: 50 * time.Millisecond, Retry: 40 * time.Millisecond}
}

func TestOneOfTwoIsTheOwnerAndHandsOverAtOnce(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb *redis.Client, _ func(time.Duration)) {
		o := quick()
		o.TTL = time.Hour // nothing lapses: only the release can hand it over
		a := start(t, rdb, "a", o)
		comes(t, "a owns", a.began)
		b := start(t, rdb, "b", o)
		for range 5 { // b asks in vain
			must(t, rdb.Ping(t.Context()).Err())
		}
		if !a.Held() || b.Held() || len(b.began) > 0 {
			t.Fatal("both own, or none")
		}
		a.stop()
		comes(t, "b owns", b.began)
		if a.Held() {
			t.Fatal("a still owns")
		}
		b.stop()
		if n := rdb.Exists(t.Context(), key).Val(); n != 0 {
			t.Fatal("the lease was left behind")
		}
	})
}

func TestTheLeaseOfADeadOwnerIsTakenOver(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb *redis.Client, pass func(time.Duration)) {
		// A process that was killed has left its lease behind, and renews it no more.
		must(t, rdb.Set(t.Context(), key, "dead", 300*time.Millisecond).Err())
		b := start(t, rdb, "b", quick())
		pass(300 * time.Millisecond)
		comes(t, "b owns", b.began)
		if ttl := rdb.PTTL(t.Context(), key).Val(); ttl <= 0 || ttl > 600*time.Millisecond {
			t.Fatalf("the lease lives for %s", ttl)
		}
	})
}

func TestTakeOverWithinFifteenSeconds(t *testing.T) {
	// By the defaults: the lease ends, and the others have asked again.
	o, err := owner.New(owner.Options{Redis: client(t, &redis.Options{}), Key: "k", Token: "t"})
	must(t, err)
	ttl, retry, timeout := o.Waits()
	if worst := ttl + retry*5/4 + timeout; worst > 13*time.Second { // the rest is for connecting
		t.Fatalf("the others own after %s", worst)
	}
}

// A lost connection loses messages, and a second one does no harm.
func TestWithoutRedisTheWorkGoesOnUntilAnotherIsSeenToHaveIt(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb *redis.Client, pass func(time.Duration)) {
		o := quick()
		a := start(t, rdb, "a", o)
		comes(t, "a owns", a.began)
		a.cut.off.Store(true)
		eventually(t, "it is known that Redis is away", a.Away)
		pass(o.TTL)
		b := start(t, rdb, "b", o)
		comes(t, "b owns, as the lease lapsed", b.began)
		if len(a.ended) > 0 || !a.Held() {
			t.Fatal("the work was stopped although nobody was seen to have the lease")
		}
		a.cut.off.Store(false)
		comes(t, "a lets go", a.ended)
		if !b.Held() || len(b.ended) > 0 {
			t.Fatal("b does not own any more")
		}
	})
}

func TestAfterAnOutageTheLeaseThatNobodyTookIsTheOwnersAgain(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb *redis.Client, _ func(time.Duration)) {
		a := start(t, rdb, "a", quick())
		comes(t, "a owns", a.began)
		a.cut.off.Store(true)
		eventually(t, "it is known that Redis is away", a.Away)
		must(t, rdb.Del(t.Context(), key).Err()) // it lapsed, or Redis was emptied
		a.cut.off.Store(false)
		eventually(t, "the lease is there again", func() bool { return rdb.Get(t.Context(), key).Val() == "a" })
		if len(a.ended) > 0 || !a.Held() {
			t.Fatal("the work was stopped")
		}
	})
}

func TestAShortOutageChangesNothing(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb *redis.Client, _ func(time.Duration)) {
		o := quick()
		o.TTL = time.Minute
		a := start(t, rdb, "a", o)
		comes(t, "a owns", a.began)
		a.cut.off.Store(true)
		eventually(t, "a renewal fails", a.Away)
		a.cut.off.Store(false)
		eventually(t, "a renewal succeeds", func() bool { return !a.Away() })
		if len(a.ended) > 0 || !a.Held() {
			t.Fatal("the work was stopped")
		}
	})
}

func TestALeaseThatWentElsewhereIsLetGoAndNotTakenBack(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb *redis.Client, _ func(time.Duration)) {
		a := start(t, rdb, "a", quick())
		comes(t, "a owns", a.began)
		must(t, rdb.Set(t.Context(), key, "other", time.Hour).Err())
		comes(t, "a lets go", a.ended)
		a.stop()
		if got := rdb.Get(t.Context(), key).Val(); got != "other" {
			t.Fatalf("the lease is %q", got)
		}
	})
}

func TestScriptsAreNamed(t *testing.T) {
	for hash, name := range owner.Scripts() {
		if len(hash) != 40 || !strings.HasPrefix(name, "owner_") {
			t.Errorf("%s is named %q", hash, name)
		}
	}
}
