package mailbox

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/workers/workerstest"
)

const conv = "00000000000000000000000000"

var must = workerstest.Must

// eachBox runs f with a box over each kind of Redis.
func eachBox(t *testing.T, f func(t *testing.T, b *box)) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		o := Options{Redis: rdb, Keys: contracts.ChatKeys, Look: func() View { return View{} }, Window: 10}
		setDefaults(&o)
		f(t, newBox(&o))
	})
}

// take begins for token and gives the holding.
func take(t *testing.T, b *box, token, id string, seq uint64) (*holding, begun) {
	t.Helper()
	got, err := b.begin(t.Context(), wakeup{conversation: conv, id: id, seq: seq, created: 1, token: token})
	must(t, err)
	return &holding{conversation: conv, token: token, fence: got.fence, ownID: id, created: 1}, got
}

func commitOf(t *testing.T, b *box, h *holding, id string, seq uint64) committed {
	t.Helper()
	c, err := b.commit(t.Context(), h, Task{ID: id, Sequence: seq}, Outcome{Turn: []byte(id), Result: []byte("r"), Out: []byte("o" + id)}, false)
	must(t, err)
	return c
}

func (b *box) field(t *testing.T, name string) string {
	t.Helper()
	v, err := b.rdb.HGet(t.Context(), contracts.KeyBox(conv), name).Result()
	if err != nil && err != redis.Nil {
		t.Fatal(err)
	}
	return v
}

func (b *box) leaseIs(t *testing.T, want string) {
	t.Helper()
	if got := b.rdb.Get(t.Context(), contracts.KeyLease(conv)).Val(); got != want {
		t.Errorf("the lease is %q, want %q", got, want)
	}
}

func TestRepeatedBegin(t *testing.T) {
	eachBox(t, func(t *testing.T, b *box) {
		h, first := take(t, b, "t1", "m1", 1)
		_, again := take(t, b, "t1", "m1", 1)
		if first.state != stateGo || again.state != stateGo || again.tries != 1 {
			t.Fatalf("first %+v, again %+v", first, again)
		}
		// The second answer is the one that counts: its fence is the newer.
		h.fence = again.fence
		if c := commitOf(t, b, h, "m1", 1); c.state != stateMore {
			t.Fatalf("commit = %+v", c)
		}
	})
}

func TestBusyBeginLeavesWord(t *testing.T) {
	eachBox(t, func(t *testing.T, b *box) {
		h, _ := take(t, b, "t1", "m1", 1)
		for range 2 {
			if _, got := take(t, b, "t2", "m3", 3); got.state != stateBusy || got.wait <= 0 {
				t.Fatalf("begin = %+v", got)
			}
		}
		if _, got := take(t, b, "t3", "m2", 2); got.state != stateBusy {
			t.Fatalf("begin = %+v", got)
		}
		if b.field(t, "want") != "3" || b.field(t, "t:m3") != "" {
			t.Fatalf("want = %s, tries = %q", b.field(t, "want"), b.field(t, "t:m3"))
		}
		s, want, err := b.release(t.Context(), h, 1, "")
		must(t, err)
		if s != stateMore || want != 3 {
			t.Fatalf("release = %s, %d", s, want)
		}
	})
}

func TestRepeatedCommit(t *testing.T) {
	eachBox(t, func(t *testing.T, b *box) {
		h, _ := take(t, b, "t1", "m1", 1)
		first := commitOf(t, b, h, "m1", 1)
		again := commitOf(t, b, h, "m1", 1)
		if first.state != stateMore || again != first {
			t.Fatalf("first %+v, again %+v", first, again)
		}
		turns := b.rdb.LRange(t.Context(), contracts.KeySession(conv), 0, -1).Val()
		out := b.rdb.LRange(t.Context(), contracts.KeyOut(conv), 0, -1).Val()
		if !slices.Equal(turns, []string{"m1"}) || !slices.Equal(out, []string{"om1"}) {
			t.Fatalf("turns %v, outbox %v", turns, out)
		}
		// A clear may be repeated, too, and takes only what it names.
		must(t, b.rdb.RPush(t.Context(), contracts.KeyOut(conv), "other").Err())
		for range 2 {
			must(t, b.clear(t.Context(), h, [][]byte{[]byte("om1")}))
		}
		if out := b.rdb.LRange(t.Context(), contracts.KeyOut(conv), 0, -1).Val(); !slices.Equal(out, []string{"other"}) {
			t.Fatalf("outbox %v", out)
		}
	})
}

// What SEND has stored leaves the outbox even when the lease ran out on the way:
// left there, it would be sent again by the next holder.
func TestClearNeedsNoLease(t *testing.T) {
	eachBox(t, func(t *testing.T, b *box) {
		h, _ := take(t, b, "t1", "m1", 1)
		commitOf(t, b, h, "m1", 1)
		must(t, b.rdb.Del(t.Context(), contracts.KeyLease(conv)).Err())
		must(t, b.clear(t.Context(), h, [][]byte{[]byte("om1")}))
		if n := b.rdb.LLen(t.Context(), contracts.KeyOut(conv)).Val(); n != 0 {
			t.Fatalf("%d entries left", n)
		}
	})
}

func TestCommitAfterAnothers(t *testing.T) {
	eachBox(t, func(t *testing.T, b *box) {
		late, _ := take(t, b, "t1", "m1", 1)
		must(t, b.rdb.Del(t.Context(), contracts.KeyLease(conv)).Err())
		h, got := take(t, b, "t2", "m1", 1)
		if got.tries != 2 {
			t.Fatalf("tries = %d", got.tries)
		}
		if c := commitOf(t, b, late, "m1", 1); c.state != stateFenced {
			t.Fatalf("late commit = %+v", c)
		}
		commitOf(t, b, h, "m1", 1)
		if c := commitOf(t, b, late, "m1", 1); c.state != stateFinished {
			t.Fatalf("commit after another's = %+v", c)
		}
		if _, got := take(t, b, "t3", "m1", 1); got.state != stateBusy { // the outbox is not empty yet
			t.Fatalf("begin = %+v", got)
		}
		must(t, b.clear(t.Context(), h, [][]byte{[]byte("om1")}))
		if _, got := take(t, b, "t3", "m1", 1); got.state != stateFinished {
			t.Fatalf("begin = %+v", got)
		}
	})
}

func TestRepeatedClaim(t *testing.T) {
	eachBox(t, func(t *testing.T, b *box) {
		h, _ := take(t, b, "t1", "m2", 2)
		for range 2 {
			c, err := b.claim(t.Context(), h, "m1", "m2")
			must(t, err)
			if c.state != stateGo || c.tries != 1 {
				t.Fatalf("claim = %+v", c)
			}
			if got := b.field(t, "t:m2"); got != "" {
				t.Fatalf("the attempt of the message that waits is %q", got)
			}
		}
		other := &holding{conversation: conv, token: "t2", fence: h.fence + 1}
		if c, err := b.claim(t.Context(), other, "m1", ""); err != nil || c.state != stateFenced {
			t.Fatalf("a stranger's claim = %+v, %v", c, err)
		}
		must(t, b.rdb.FlushAll(t.Context()).Err())
		if c, err := b.claim(t.Context(), h, "m1", ""); err != nil || c.state != stateLost {
			t.Fatalf("claim of nothing = %+v, %v", c, err)
		}
	})
}

func TestRepeatedHold(t *testing.T) {
	eachBox(t, func(t *testing.T, b *box) {
		h, _ := take(t, b, "t1", "m1", 1)
		f := failures{count: 1, first: time.UnixMilli(5)}
		for range 2 {
			must(t, b.hold(t.Context(), h, "m1", time.Minute, true, f))
			b.leaseIs(t, contracts.LeaseHeld)
			if b.field(t, "t:m1") != "" || b.field(t, "f:m1") != f.String() {
				t.Fatalf("tries %q, failures %q", b.field(t, "t:m1"), b.field(t, "f:m1"))
			}
		}
		if ours, _, err := b.renew(t.Context(), h); err != nil || ours {
			t.Fatalf("renew after hold = %v, %v", ours, err)
		}
		b.leaseIs(t, contracts.LeaseHeld)
	})
}

// end is a way to give a conversation up.
var ends = map[string]func(t *testing.T, b *box, h *holding){
	"release": func(t *testing.T, b *box, h *holding) {
		for range 2 {
			_, _, err := b.release(t.Context(), h, everything, "m1")
			must(t, err)
		}
		if got := b.field(t, "t:m1"); got != "" {
			t.Errorf("the attempt was not taken back: %q", got)
		}
	},
	"commit": func(t *testing.T, b *box, h *holding) {
		for range 2 {
			c, err := b.commit(context.Background(), h, Task{ID: "m1", Sequence: 1}, Outcome{Result: []byte("r")}, false)
			must(t, err)
			if c.state != stateReleased {
				t.Errorf("commit = %+v", c)
			}
		}
	},
}

func TestLateRenewDoesNotTakeTheLeaseBack(t *testing.T) {
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			eachBox(t, func(t *testing.T, b *box) {
				h, _ := take(t, b, "t1", "m1", 1)
				end(t, b, h)
				if ours, _, err := b.renew(t.Context(), h); err != nil || ours {
					t.Errorf("renew = %v, %v", ours, err)
				}
				b.leaseIs(t, "")
			})
		})
		t.Run(name+" after the lease ran out", func(t *testing.T) {
			eachBox(t, func(t *testing.T, b *box) {
				h, _ := take(t, b, "t1", "m1", 1)
				must(t, b.rdb.Del(t.Context(), contracts.KeyLease(conv)).Err())
				end(t, b, h)
				if ours, _, err := b.renew(t.Context(), h); err != nil || ours {
					t.Errorf("renew = %v, %v", ours, err)
				}
				b.leaseIs(t, "")
			})
		})
	}
}

func TestRenew(t *testing.T) {
	eachBox(t, func(t *testing.T, b *box) {
		h, _ := take(t, b, "t1", "m1", 1)
		must(t, b.rdb.Del(t.Context(), contracts.KeyLease(conv)).Err())
		if ours, _, err := b.renew(t.Context(), h); err != nil || !ours {
			t.Fatalf("renew of a lease that ran out = %v, %v", ours, err)
		}
		b.leaseIs(t, "t1")
		must(t, b.rdb.FlushAll(t.Context()).Err())
		if ours, _, err := b.renew(t.Context(), h); err != nil || !ours {
			t.Fatalf("renew in an empty Redis = %v, %v", ours, err)
		}
		b.leaseIs(t, "") // nothing is made up
		take(t, b, "t2", "m1", 1)
		if ours, _, err := b.renew(t.Context(), h); err != nil || ours {
			t.Fatalf("renew of another's lease = %v, %v", ours, err)
		}
		b.leaseIs(t, "t2")
	})
}

// The back-off of a failed head counts even when its lease ran out meanwhile.
func TestHoldAfterTheLeaseRanOut(t *testing.T) {
	eachBox(t, func(t *testing.T, b *box) {
		h, _ := take(t, b, "t1", "m1", 1)
		must(t, b.rdb.Del(t.Context(), contracts.KeyLease(conv)).Err())
		must(t, b.hold(t.Context(), h, "m1", time.Minute, true, failures{}))
		b.leaseIs(t, contracts.LeaseHeld)
		other, _ := take(t, b, "t2", "m2", 2)
		must(t, b.hold(t.Context(), other, "m2", time.Hour, true, failures{})) // busy: not its to hold
		if left := b.rdb.PTTL(t.Context(), contracts.KeyLease(conv)).Val(); left > time.Minute {
			t.Errorf("a stranger held the conversation for %s", left)
		}
	})
}
