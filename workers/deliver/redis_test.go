package deliver_test

import (
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/workers/deliver/delivertest"
	"moltbot/workers/workerstest"
)

// Couriers die at every point, on a real Redis that is killed in between: the
// promises are those of TestDeadCouriers.
func TestDeadCouriersAndRedis(t *testing.T) {
	for name, repeat := range map[string]time.Duration{"repeats are dropped": time.Hour, "repeats are shown": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits more than it works
			const chats, each = 6, 4
			r := workerstest.StartRedis(t)
			o := newOffice(t, r.Client(t))
			o.platform.Repeat = repeat
			calls := make(chan struct{}, 2*chats*each*40)
			o.platform.Act = func(delivertest.Call) (bool, error) { calls <- struct{}{}; return true, nil }
			for n := range each {
				for c := range chats {
					o.publish(o.answer("c"+strconv.Itoa(c), n, strconv.Itoa(2*n)+"|"+strconv.Itoa(2*n+1)))
				}
			}
			var points, deaths atomic.Int32
			crash := func(string) {
				if points.Add(1)%13 == 7 && deaths.Add(1) <= 15 {
					runtime.Goexit()
				}
			}
			for range 3 {
				o.worker(crash)
			}
			for range 3 {
				for range 6 { // it is in the middle of things
					workerstest.Await(t, "calls are made", calls)
				}
				r.Kill()
				r.Start(t)
			}
			o.settled()
			o.judge(chats, each, repeat > 0)
			if deaths.Load() < 5 {
				t.Errorf("only %d died", deaths.Load())
			}
		})
	}
}

// Redis is emptied while an answer is sent: who sends it knows how far it is, and
// ends it once. What is behind it goes out in order. What was finished before may be
// delivered again, because its done key is gone and is then shown again.
func TestRedisEmptiedWhileSending(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		t.Parallel()
		o := newOffice(t, rdb)
		o.platform.Act = func(c delivertest.Call) (bool, error) {
			if c.Text == "2" {
				return true, rdb.FlushAll(t.Context()).Err()
			}
			return true, nil
		}
		for n := range 4 {
			o.publish(o.answer("c", n, strconv.Itoa(2*n)+"|"+strconv.Itoa(2*n+1)))
		}
		o.worker(nil)
		o.settled()
		var first, again []string
		for _, text := range o.platform.Texts() {
			if slices.Contains(first, text) {
				again = append(again, text)
				continue
			}
			first = append(first, text)
		}
		if !slices.Equal(first, []string{"0", "1", "2", "3", "4", "5", "6", "7"}) || len(o.dead()) != 0 {
			t.Errorf("shown %v, dead letters %v", o.platform.Texts(), o.dead())
		}
		if len(again) > 0 && !slices.Equal(again, []string{"0", "1"}) {
			t.Errorf("shown again: %v", again)
		}
	})
}
