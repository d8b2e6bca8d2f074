package deliver_test

import (
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/workers/deliver"
	"moltbot/workers/deliver/delivertest"
	"moltbot/workers/workerstest"
)

// Two processes together keep the limits of one application, and of one chat.
func TestTwoProcessesShareThePace(t *testing.T) {
	const rate, calls = 50, 30
	for name, limits := range map[string][2]int{"application": {rate, 0}, "chat": {0, rate}, "both": {rate, rate}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onEach(t, func(t *testing.T, p *post) {
				p.options.Rate = func(contracts.Channel, string) (int, int) { return limits[0], limits[1] }
				two := []*deliver.Courier{p.courier(), p.courier()}
				var sending sync.WaitGroup
				began := time.Now()
				for n := range calls {
					a := p.answer("c", n, "x")
					if name == "application" {
						a = p.answer("c"+strconv.Itoa(n), n, "x")
					}
					// All runs of a chat are let through by the fence here: only the pace orders them.
					task := p.task(a, 1, 0)
					sending.Go(func() {
						_, err := two[n%2].Run(t.Context(), task)
						for ; deliver.Paced(err); _, err = two[n%2].Run(t.Context(), task) {
							<-time.After(contracts.Public(err).RetryAfter)
						}
						if err != nil {
							t.Error(err)
						}
					})
				}
				sending.Wait()
				got := p.platform.Calls()
				if len(got) != calls {
					t.Fatalf("%d calls", len(got))
				}
				last := began
				for _, c := range got {
					if c.At.After(last) {
						last = c.At
					}
				}
				// A slow machine makes it slower, never faster: counted from before the
				// first turn, whose call itself may be late.
				least := time.Second * (calls - 1) / rate
				if took := last.Sub(began); took < least-time.Millisecond {
					t.Errorf("%d calls in %s, at %d in a second they take %s", calls, took, rate, least)
				}
			})
		})
	}
}

// A busy chat has no more slots than it has turns in the time that is waited in a
// slot, and another chat of the same application goes out at once.
func TestABusyChatLeavesTheSlots(t *testing.T) {
	onEach(t, func(t *testing.T, p *post) {
		const waiting, rate = 60, 5
		p.options.Rate = func(contracts.Channel, string) (int, int) { return 500, rate }
		c := p.courier()
		waits := make(chan time.Duration, waiting)
		var running sync.WaitGroup
		for n := range waiting {
			task := p.task(p.answer("c", n, "x"), 1, 0) // the fence lets all of them through here
			running.Go(func() {
				if _, err := c.Run(t.Context(), task); deliver.Paced(err) {
					waits <- contracts.Public(err).RetryAfter
				} else if err != nil {
					t.Error(err)
				}
			})
		}
		running.Wait()
		close(waits)
		// Two or three; a machine that stands still lets more through, one for each 200 ms.
		if sent := len(p.platform.Calls()); sent > 8 || sent+len(waits) != waiting {
			t.Errorf("%d were sent at once, %d wait outside", sent, len(waits))
		}
		var all []time.Duration
		for w := range waits {
			all = append(all, w)
		}
		slices.Sort(all)
		if last := all[len(all)-1]; last < 5*time.Second || last > 11*time.Second {
			t.Errorf("all of them come back within %s", last)
		}
		began := time.Now()
		must(t, p.run(p.task(p.answer("d", 1, "other"), 1, 0)))
		if took := time.Since(began); took > time.Second {
			t.Errorf("another chat waited for %s", took)
		}
	})
}

// Whose turn is far off is not waited for in a slot, and takes nothing.
func TestALongWaitFreesTheSlot(t *testing.T) {
	onEach(t, func(t *testing.T, p *post) {
		p.platform.Act = func(c delivertest.Call) (bool, error) {
			if c.ID == p.answer("c", 1, "").ID && c.Nth == 1 {
				return false, delivertest.Fail(deliver.VerdictRetry, time.Minute)
			}
			return true, nil
		}
		first, second, other := p.answer("c", 1, "one"), p.answer("d", 2, "two"), p.answer("e", 3, "three")
		other.Origin.App = "b"
		wantCode(t, p.run(p.task(first, 1, 0)), contracts.CodeChannelDown, true)
		// The platform meant the application, whoever calls it.
		err := p.run(p.task(second, 1, 0))
		wantCode(t, err, contracts.CodeChannelDown, true)
		if wait := contracts.Public(err).RetryAfter; wait < 50*time.Second || wait > time.Minute {
			t.Errorf("waits %s", wait)
		}
		must(t, p.run(p.task(other, 1, 0)))
		if got := p.platform.Calls(); len(got) != 2 {
			t.Errorf("%d calls", len(got))
		}
		if d := p.record(second); d.Status != contracts.DeliveryPending || len(d.Attempts) != 0 {
			t.Errorf("record %+v", d)
		}
	})
}

// What one chat is refused for, others are not kept from.
func TestAWaitOfOneChat(t *testing.T) {
	onEach(t, func(t *testing.T, p *post) {
		p.platform.Act = once(func(delivertest.Call) (bool, error) {
			return false, &deliver.Failure{Verdict: deliver.VerdictRetry, Wait: time.Minute, Chat: true, Err: errors.New("of the chat")}
		})
		first, same, other := p.answer("c", 1, "one"), p.answer("c", 2, "two"), p.answer("d", 3, "three")
		wantCode(t, p.run(p.task(first, 1, 0)), contracts.CodeChannelDown, true)
		wantCode(t, p.run(p.task(same, 1, 0)), contracts.CodeChannelDown, true)
		must(t, p.run(p.task(other, 1, 0)))
		if got := p.platform.Calls(); len(got) != 2 {
			t.Errorf("%d calls", len(got))
		}
	})
}

// Nothing is sent that could not be written down before, and what was sent is
// written down as soon as Redis is back.
func TestRedisAway(t *testing.T) {
	r := workerstest.StartRedis(t)
	p := newPost(t, r.Client(t))
	a := p.answer("c", 1, "one|two")
	task := p.task(a, 1, 0)
	r.Kill()
	wantCode(t, p.run(task), contracts.CodeStoreDown, true)
	if len(p.platform.Calls()) != 0 {
		t.Fatal("sent without a record")
	}
	r.Start(t)
	sent := make(chan struct{})
	p.platform.Act = once(func(delivertest.Call) (bool, error) {
		r.Kill()
		close(sent)
		return true, nil
	})
	done := make(chan error, 1)
	go func() { done <- p.run(task) }()
	workerstest.Await(t, "a part is sent", sent)
	r.Start(t)
	must(t, workerstest.Await(t, "the rest", done))
	if got := p.platform.Texts(); len(got) != 2 || got[1] != "two" {
		t.Errorf("shown %v", got)
	}
	if d := p.record(a); d.Status != contracts.DeliverySent || len(d.Attempts) != 2 {
		t.Errorf("record %+v", d)
	}
}
