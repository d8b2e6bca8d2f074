package deliver_test

import (
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/workers/deliver"
	"moltbot/workers/deliver/delivertest"
	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

// office is SEND with couriers over it.
type office struct {
	*post
	nc    *nats.Conn
	js    jetstream.JetStream
	view  mailbox.View
	nodes int
}

var shortQueue = workerstest.Queue{AckWait: 600 * time.Millisecond}

func newOffice(t *testing.T, rdb redis.UniversalClient) *office {
	t.Helper()
	o := &office{post: newPost(t, rdb), nc: workerstest.StartNATS(t).Connect(t)}
	var err error
	o.js, err = jetstream.New(o.nc)
	must(t, err)
	workerstest.MakeStreams(t, o.js, shortQueue)
	_, err = o.js.CreateConsumer(t.Context(), contracts.StreamSend, workerstest.SendConsumer(shortQueue))
	must(t, err)
	s, err := o.js.Stream(t.Context(), contracts.StreamSend)
	must(t, err)
	o.view = mailbox.View{Created: s.CachedInfo().Created, FirstSeq: s.CachedInfo().State.FirstSeq}
	return o
}

func (o *office) publish(a contracts.Answer) {
	o.t.Helper()
	t := o.task(a, 0, 0)
	must(o.t, o.rdb.Del(o.t.Context(), contracts.SendKeys(t.Conversation).Box).Err())
	_, err := o.js.Publish(o.t.Context(), contracts.SubjectSend(contracts.ChannelFeishu, t.Conversation), t.Data, jetstream.WithMsgID(a.ID))
	must(o.t, err)
}

// worker pulls into a mailbox over a courier until the test ends. A delivery that
// crashes settles nothing and releases nothing.
func (o *office) worker(crash func(string)) {
	o.t.Helper()
	o.nodes++
	po := o.options
	po.Crash = crash
	courier, err := deliver.New(po)
	must(o.t, err)
	box, err := mailbox.New("node"+strconv.Itoa(o.nodes), mailbox.Options{
		Conn: o.nc, Redis: o.rdb, Runner: courier, Log: zerolog.Nop(), Stream: contracts.StreamSend, Role: "deliver",
		Keys: contracts.SendKeys, Identify: deliver.Identify, Sealer: workerstest.Sealer{}, Look: func() mailbox.View { return o.view },
		Memory: -1, AckWait: shortQueue.AckWait, Lease: 450 * time.Millisecond, BusyDelay: 20 * time.Millisecond, MaxAttempts: 20,
		RetryBase: 5 * time.Millisecond, RetryMax: 20 * time.Millisecond, Crash: crash,
	})
	must(o.t, err)
	take, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for take.Err() == nil {
			c, err := o.js.Consumer(take, contracts.StreamSend, contracts.ConsumerSend)
			if err != nil {
				continue
			}
			batch, err := c.Fetch(8, jetstream.FetchMaxWait(50*time.Millisecond))
			if err != nil {
				continue
			}
			for d := range batch.Messages() {
				running.Go(func() { _, _ = box.Handle(take, context.WithoutCancel(take), d) })
			}
		}
	})
	o.t.Cleanup(func() { stop(); running.Wait() })
}

// settled waits until nothing is under way any more.
func (o *office) settled() {
	o.t.Helper()
	workerstest.Eventually(o.t, "everything is delivered", func() bool {
		return workerstest.Settled(o.t, o.js, contracts.StreamSend, contracts.ConsumerSend)
	})
}

// dead gives the codes of the dead letters by message.
func (o *office) dead() map[string]contracts.Code {
	o.t.Helper()
	all := make(map[string]contracts.Code)
	for _, m := range workerstest.Contents(o.t, o.js, contracts.StreamDead) {
		d, err := contracts.DecodeDead(m.Data)
		must(o.t, err)
		if d.Stream != contracts.StreamSend || m.Subject != contracts.SubjectDead("deliver") {
			o.t.Errorf("dead letter of %s on %s", d.Stream, m.Subject)
		}
		all[d.ID] = d.Code
	}
	return all
}

// Wherever workers die, users see every part once and in order where the platform
// drops repeats. Where it does not they see it at most once, and every answer that
// nobody knows of is a dead letter.
func TestDeadCouriers(t *testing.T) {
	const chats, each = 6, 4
	for _, point := range []string{"begun", "recorded", "sent", "recorded sent", "committed", "replied"} {
		for _, repeat := range []time.Duration{time.Hour, 0} {
			name := point + ", repeats are shown"
			if repeat > 0 {
				name = point + ", repeats are dropped"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel() // it waits more than it works
				o := newOffice(t, workerstest.MiniRedis(t))
				o.platform.Repeat = repeat
				var deaths atomic.Int32
				crash := func(at string) {
					if at == point && deaths.Add(1)%5 == 1 && deaths.Load() < 40 {
						runtime.Goexit()
					}
				}
				for n := range each {
					for c := range chats {
						o.publish(o.answer("c"+strconv.Itoa(c), n, strconv.Itoa(2*n)+"|"+strconv.Itoa(2*n+1)))
					}
				}
				for range 3 {
					o.worker(crash)
				}
				o.settled()
				if deaths.Load() < 5 {
					t.Errorf("only %d came to %q", deaths.Load(), point)
				}
				o.judge(chats, each, repeat > 0)
				harmless := point != "recorded" && point != "sent"
				switch dead := len(o.dead()); {
				case repeat == 0 && !harmless && dead == 0:
					t.Error("no answer is uncertain: the crashes were elsewhere")
				// On a machine that stands still a lease can end during a call.
				case harmless && dead > chats*each/4:
					t.Errorf("%d answers are uncertain", dead)
				}
			})
		}
	}
}

// judge looks at what users saw. Parts are numbered through a chat.
func (o *office) judge(chats, each int, certain bool) {
	o.t.Helper()
	seen := make(map[string][]int)
	for _, c := range o.platform.Shown() {
		n, err := strconv.Atoi(c.Text)
		must(o.t, err)
		seen[c.Chat] = append(seen[c.Chat], n)
	}
	dead := o.dead()
	for c := range chats {
		chat := "c" + strconv.Itoa(c)
		got := seen[chat]
		if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
			o.t.Errorf("%s saw %v", chat, got)
		}
		for n := range each {
			code, buried := dead[o.answer(chat, n, "").ID]
			whole := slices.Contains(got, 2*n) && slices.Contains(got, 2*n+1)
			if !whole && code != contracts.CodeUncertain || buried && certain {
				o.t.Errorf("%s, answer %d: whole %t, dead letter %q", chat, n, whole, code)
			}
		}
	}
}

// Answers of one chat go out in order although the platform refuses and forgets,
// and several workers pull.
func TestOrderUnderRefusals(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		t.Parallel()
		const chats, each = 8, 6
		o := newOffice(t, rdb)
		o.platform.Repeat = time.Hour
		o.platform.Act = func(c delivertest.Call) (bool, error) {
			switch r := rand.N(6); {
			case c.Nth > 4 || r > 1:
				return true, nil
			case r == 1:
				return true, delivertest.Fail(deliver.VerdictUncertain, 0)
			}
			return false, delivertest.Fail(deliver.VerdictRetry, 0)
		}
		for n := range each {
			for c := range chats {
				o.publish(o.answer("c"+strconv.Itoa(c), n, strconv.Itoa(2*n)+"|"+strconv.Itoa(2*n+1)))
			}
		}
		for range 3 {
			o.worker(nil)
		}
		o.settled()
		o.judge(chats, each, true)
		if len(o.dead()) != 0 {
			t.Errorf("dead letters %v", o.dead())
		}
	})
}

// What cannot be read, or is refused for good, goes to the dead letters, and what
// is behind it goes out.
func TestPoison(t *testing.T) {
	o := newOffice(t, workerstest.MiniRedis(t))
	o.platform.Act = func(c delivertest.Call) (bool, error) {
		if c.Text == "bad" {
			return false, delivertest.Fail(deliver.VerdictFinal, 0)
		}
		return true, nil
	}
	good := o.answer("c", 3, "good")
	conversation := good.ID[:26]
	subject := contracts.SubjectSend(contracts.ChannelFeishu, conversation)
	for _, garbage := range []string{"garbage", "", `{"v":9999}`} {
		_, err := o.js.Publish(t.Context(), subject, []byte(garbage))
		must(t, err)
	}
	foreign := o.task(o.answer("other", 1, "x"), 0, 0)
	_, err := o.js.Publish(t.Context(), subject, foreign.Data) // of another conversation
	must(t, err)
	_, err = o.js.Publish(t.Context(), "chat.out.feishu.nobody", []byte("x"))
	must(t, err)
	bad := o.answer("c", 2, "bad")
	o.publish(bad)
	o.publish(good)
	o.worker(nil)
	o.settled()
	if got := o.platform.Texts(); !slices.Equal(got, []string{"good"}) {
		t.Errorf("shown %v", got)
	}
	dead := o.dead()
	if len(dead) != 6 || dead[bad.ID] != contracts.CodeUndelivered {
		t.Errorf("dead letters %v", dead)
	}
	for id, code := range dead {
		if strings.HasPrefix(id, "raw-") && code != contracts.CodeDead {
			t.Errorf("%s: %s", id, code)
		}
	}
}
