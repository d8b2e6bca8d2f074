package workers

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/workers/deliver"
	"moltbot/workers/deliver/delivertest"
	"moltbot/workers/mailbox"
	"moltbot/workers/model"
	"moltbot/workers/workerstest"
)

// im is a message of a Feishu chat.
func (p *plant) im(chat string, n int, text string) contracts.Message {
	m := p.message(chat, n, text, "")
	m.Conversation = p.namer.Conversation(contracts.Scope{Channel: contracts.ChannelFeishu, App: "a", Session: chat})
	m.ID = p.namer.NewID(m.Conversation, "test", time.UnixMilli(int64(n)), p.namer.Digest("test", strconv.Itoa(n))).String()
	m.Channel, m.Origin = contracts.ChannelFeishu, &contracts.Origin{App: "a", Chat: chat, At: time.Now()}
	return m
}

// delivering are options of workers that send to a platform.
func (p *plant) delivering(c model.Completer, platform *delivertest.Platform) Options {
	p.t.Helper()
	o := p.options(c)
	o.Senders = map[contracts.Channel]deliver.Sender{contracts.ChannelFeishu: platform, contracts.ChannelCallback: platform}
	o.Delivery = Delivery{
		Slots: 8, Mailbox: o.Mailbox, Digest: p.namer.Digest,
		Consumer: func(ctx context.Context) (jetstream.Consumer, error) {
			return p.js.CreateOrUpdateConsumer(ctx, contracts.StreamSend, workerstest.SendConsumer(workerstest.Queue{AckWait: 30 * time.Second}))
		},
	}
	return o
}

// echo answers with what the user wrote.
func echo(_ context.Context, r model.Request) (model.Answer, error) {
	return said("re: " + r.Messages[len(r.Messages)-1].Text), nil
}

func awaitShown(t *testing.T, p *delivertest.Platform, n int) []string {
	t.Helper()
	workerstest.Eventually(t, strconv.Itoa(n)+" parts are shown", func() bool { return len(p.Shown()) >= n })
	return p.Texts()
}

// The whole way: messages of chats in, answers out, each once and in order, and
// the stream is empty in the end.
func TestMessageInAnswerOut(t *testing.T) {
	p := newPlant(t)
	platform := &delivertest.Platform{}
	o := p.delivering(completer(echo), platform)
	_, stop, done := p.start(o)
	o.Node = "node2"
	_, stop2, done2 := p.start(o)
	const chats, each = 4, 5
	for n := range each {
		for c := range chats {
			p.publish(p.im("c"+strconv.Itoa(c), n, strconv.Itoa(n)))
		}
	}
	awaitShown(t, platform, chats*each)
	next := make(map[string]int)
	for _, c := range platform.Shown() {
		if want := "re: " + strconv.Itoa(next[c.Chat]); c.Text != want {
			t.Errorf("%s is shown %q, want %q", c.Chat, c.Text, want)
		}
		next[c.Chat]++
	}
	workerstest.Eventually(t, "both streams are purged", func() bool {
		return len(workerstest.Contents(t, p.js, contracts.StreamSend))+len(workerstest.Contents(t, p.js, contracts.StreamChat)) == 0
	})
	stop()
	stop2()
	must(t, workerstest.Await(t, "ends", done))
	must(t, workerstest.Await(t, "ends", done2))
	if n := len(platform.Shown()); n != chats*each {
		t.Errorf("%d parts are shown", n)
	}
}

// What was committed when the process began to stop is still sent.
func TestShutdownSendsWhatIsCommitted(t *testing.T) {
	p := newPlant(t)
	platform := &delivertest.Platform{}
	entered, open, sending, sent := make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{})
	platform.Act = func(delivertest.Call) (bool, error) { close(sending); <-sent; return true, nil }
	_, stop, done := p.start(p.delivering(completer(func(context.Context, model.Request) (model.Answer, error) {
		close(entered)
		<-open
		return said("in time"), nil
	}), platform))
	p.publish(p.im("c", 1, "text"))
	workerstest.Await(t, "it runs", entered)
	stop()
	close(open)
	workerstest.Await(t, "it is sent", sending)
	select {
	case <-done:
		t.Error("ended while it was sent")
	default:
	}
	close(sent)
	must(t, workerstest.Await(t, "ends", done))
	if got := platform.Texts(); !slices.Equal(got, []string{"in time"}) {
		t.Errorf("shown %v", got)
	}
}

// While SEND takes nothing the conversation waits; nothing is lost or doubled.
func TestSendIsFullOrGone(t *testing.T) {
	for name, spoil := range map[string]func(p *plant) (mend func()){
		"full": func(p *plant) func() {
			set := func(most int64) {
				s, err := p.js.Stream(p.t.Context(), contracts.StreamSend)
				must(p.t, err)
				c := s.CachedInfo().Config
				c.MaxMsgs = most
				_, err = p.js.UpdateStream(p.t.Context(), c)
				must(p.t, err)
			}
			_, err := p.js.Publish(p.t.Context(), "chat.out.x.nobody", nil) // it is buried in the end
			must(p.t, err)
			set(1)
			return func() { set(-1) }
		},
		"deleted": func(p *plant) func() {
			s, err := p.js.Stream(p.t.Context(), contracts.StreamSend)
			must(p.t, err)
			c := s.CachedInfo().Config
			must(p.t, p.js.DeleteStream(p.t.Context(), contracts.StreamSend))
			return func() { _, err := p.js.CreateStream(p.t.Context(), c); must(p.t, err) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t)
			platform := &delivertest.Platform{}
			mend := spoil(p)
			o := p.delivering(completer(echo), platform)
			o.Delivery.Slots = 1
			w, _, _ := p.start(o)
			w.SetDeliverySlots(0)
			for n := range 3 {
				p.publish(p.im("c", n, strconv.Itoa(n)))
			}
			box := contracts.ChatKeys(p.im("c", 0, "").Conversation)
			workerstest.Eventually(t, "the first waits in the outbox", func() bool { return p.rdb.LLen(t.Context(), box.Out).Val() == 1 })
			mend()
			w.SetDeliverySlots(4)
			if got := awaitShown(t, platform, 3); !slices.Equal(got, []string{"re: 0", "re: 1", "re: 2"}) {
				t.Errorf("shown %v", got)
			}
			workerstest.Eventually(t, "all is settled", func() bool { return p.rdb.LLen(t.Context(), box.Out).Val() == 0 })
		})
	}
}

func TestDeliverySlots(t *testing.T) {
	p := newPlant(t)
	w, _, _ := p.start(p.delivering(completer(echo), &delivertest.Platform{}))
	w.SetDeliverySlots(3)
	if limit, _, ok := w.DeliverySlots(); limit != 3 || !ok {
		t.Errorf("%d slots, %t", limit, ok)
	}
	workerstest.Eventually(t, "both pools fetch", func() bool { return w.Fetching(t.Context()) == nil })
	plain, err := New(p.options(model.Demo{}))
	must(t, err)
	plain.SetDeliverySlots(3)
	if _, _, ok := plain.DeliverySlots(); ok {
		t.Error("slots of no pool")
	}
	o := p.delivering(completer(echo), &delivertest.Platform{})
	o.Delivery.Digest = nil
	if _, err := New(o); err == nil {
		t.Error("no digest, no error")
	}
}

// sent opens what an outcome sends.
func (p *plant) sent(o mailbox.Outcome) contracts.Answer {
	p.t.Helper()
	out, err := contracts.DecodeOutgoing(o.Out)
	must(p.t, err)
	plain, err := workerstest.Sealer{}.Open(out.Data, contracts.KindSend, out.Conversation, out.ID)
	must(p.t, err)
	a, err := contracts.DecodeAnswer(plain)
	must(p.t, err)
	if (out.Channel == contracts.ChannelCallback) != (a.Callback != "") || out.ID != a.ID {
		p.t.Errorf("%s goes out by %s", a.ID, out.Channel)
	}
	return a
}

func TestWhatGoesOut(t *testing.T) {
	p := newPlant(t)
	tn := p.turn(echo)
	run := func(m contracts.Message) mailbox.Outcome {
		t.Helper()
		o, err := tn.Run(t.Context(), p.task(m))
		must(t, err)
		return o
	}
	if o := run(p.message("s", 1, "hi", "")); o.Out != nil {
		t.Error("who waits gets it twice")
	}
	m := p.im("c", 1, "hi")
	o := run(m)
	if a := p.sent(o); a.Text != "re: hi" || a.Origin.Chat != "c" || a.Callback != "" || a.Result.Reply != "" || !a.Accepted.Equal(m.Accepted) || o.Turn == nil {
		t.Errorf("sent %+v", a)
	}
	m.Flags = contracts.FlagUnkept
	if o := run(m); o.Turn != nil || p.sent(o).Text != "re: hi" {
		t.Error("an unkept message is not answered, or kept")
	}
	back := p.message("s", 2, "hi", "")
	back.Callback = "https://example.com/x"
	if a := p.sent(run(back)); a.Callback != back.Callback || a.Text != "" || a.Result.Reply != "re: hi" || a.Result.SessionID != "s" || a.Origin != nil {
		t.Errorf("called back %+v", a)
	}
	for text, want := range map[string]string{"/help": "/new", "/帮助": "/新会话", "/stop": "Nothing to stop", "/new": "new conversation"} {
		o := run(p.im("c", 3, text))
		if a := p.sent(o); !strings.Contains(a.Text, want) || o.Turn != nil {
			t.Errorf("%s: sent %q", text, a.Text)
		}
	}
	say := p.im("c", 4, "/new")
	say.Say = "I cannot read this"
	o = run(say)
	if a := p.sent(o); a.Text != say.Say || o.Turn != nil || o.Reset || p.open(say, o).Reply != say.Say {
		t.Errorf("sent %+v", a)
	}
	tn = p.turn(func(context.Context, model.Request) (model.Answer, error) { return said(""), nil })
	if a := p.sent(run(p.im("c", 5, "hi"))); a.Text == "" {
		t.Error("an empty message is sent")
	}
}

// What does not fit into the stream would close the conversation for ever.
func TestAnswersFitIntoTheStream(t *testing.T) {
	p := newPlant(t)
	tn := p.turn(func(context.Context, model.Request) (model.Answer, error) {
		return said(strings.Repeat("字", 400_000)), nil
	})
	back := p.message("s", 2, "hi", "")
	back.Callback = "https://example.com/x"
	for _, m := range []contracts.Message{p.im("c", 1, "hi"), back} {
		o, err := tn.Run(t.Context(), p.task(m))
		must(t, err)
		if len(o.Out) > maxOut {
			t.Fatalf("%d bytes", len(o.Out))
		}
		a := p.sent(o)
		if m.Origin != nil && (len(a.Text) < maxText/2 || !strings.HasSuffix(a.Text, "字…")) || m.Origin == nil && a.Result.Code != contracts.CodeTooLarge {
			t.Errorf("sent %d bytes, %+v", len(a.Text), a.Result)
		}
	}
}

// A failure is told to users in their language, and to callbacks as it is.
func TestFailuresGoOut(t *testing.T) {
	p := newPlant(t)
	tn := p.turn(nil)
	fail := func(m contracts.Message, code contracts.Code) mailbox.Outcome {
		return tn.Fail(p.task(m), &contracts.Error{Code: code, Message: "no", Err: errors.New("internal")})
	}
	for text, want := range map[string]string{"hi": "Sorry", "你好": "抱歉"} {
		if a := p.sent(fail(p.im("c", 1, text), contracts.CodeModelFailed)); !strings.HasPrefix(a.Text, want) || strings.Contains(a.Text, "internal") {
			t.Errorf("told %q", a.Text)
		}
	}
	slow := p.sent(fail(p.im("c", 1, "hi"), contracts.CodeModelTimeout)).Text
	if slow == p.sent(fail(p.im("c", 1, "hi"), contracts.CodeDead)).Text {
		t.Error("slow is told as broken")
	}
	for _, code := range []contracts.Code{contracts.CodeStopped, contracts.CodeStale} {
		if o := fail(p.im("c", 1, "hi"), code); o.Out != nil || p.open(p.im("c", 1, "hi"), o).Code != code {
			t.Errorf("%s is told", code)
		}
	}
	back := p.message("s", 2, "hi", "")
	back.Callback = "https://example.com/x"
	for _, code := range []contracts.Code{contracts.CodeStopped, contracts.CodeModelFailed} {
		if a := p.sent(fail(back, code)); a.Result.Code != code || a.Result.Detail != "no" {
			t.Errorf("called back %+v", a.Result)
		}
	}
}

// A message that waited for hours is reported, not answered.
func TestStaleMessages(t *testing.T) {
	p := newPlant(t)
	platform := &delivertest.Platform{}
	o := p.delivering(completer(echo), platform)
	o.MaxAge = func(contracts.Channel, string) time.Duration { return time.Hour }
	p.start(o)
	old := p.im("c", 1, "old")
	old.Origin.At = time.Now().Add(-2 * time.Hour)
	p.publish(old)
	replayed := p.im("c", 1, "replayed")
	replayed.ID += "#r1"
	replayed.Origin.At = old.Origin.At
	p.publish(replayed)
	p.publish(p.im("c", 2, "new"))
	if got := awaitShown(t, platform, 1); got[0] != "re: replayed" {
		t.Errorf("shown %v", got)
	}
	awaitShown(t, platform, 1)
	workerstest.Eventually(t, "it is a dead letter", func() bool { return len(workerstest.Contents(t, p.js, contracts.StreamDead)) == 1 })
	d, err := contracts.DecodeDead(workerstest.Contents(t, p.js, contracts.StreamDead)[0].Data)
	must(t, err)
	if d.ID != old.ID || d.Code != contracts.CodeStale || d.Stream != contracts.StreamChat {
		t.Errorf("dead letter %+v", d)
	}
}

func TestSendBackoff(t *testing.T) {
	asks := func(d time.Duration) error { return &contracts.Error{Code: contracts.CodeChannelDown, RetryAfter: d} }
	for name, c := range map[string]struct {
		failures    int
		cause       error
		least, most time.Duration
	}{
		"first":          {1, errors.New("x"), 700 * time.Millisecond, 1300 * time.Millisecond},
		"third":          {3, errors.New("x"), 3 * time.Second, 5 * time.Second},
		"many":           {1000, errors.New("x"), 45 * time.Second, 75 * time.Second},
		"asked":          {1, asks(10 * time.Minute), 10 * time.Minute, 11*time.Minute + time.Second},
		"asked for ages": {1, asks(30 * time.Hour), time.Hour, 66*time.Minute + time.Second},
		"asked for less": {5, asks(time.Second), 12 * time.Second, 20 * time.Second},
	} {
		for range 50 {
			if d := sendBackoff(c.failures, c.cause, time.Second, time.Minute); d < c.least || d > c.most {
				t.Errorf("%s: %s", name, d)
			}
		}
	}
}

// An erase takes along what became of deliveries, but not of those on their way.
func TestEraseTakesDeliveries(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		p := remembering(t, rdb)
		platform := &delivertest.Platform{}
		platform.Act = func(c delivertest.Call) (bool, error) {
			if c.Text == "re: no" {
				return false, delivertest.Fail(deliver.VerdictRetry, time.Minute)
			}
			return true, nil
		}
		p.start(p.delivering(completer(echo), platform))
		sent, pending := p.im("c", 1, "yes"), p.im("c", 2, "no")
		status := func(m contracts.Message) string {
			return rdb.HGet(t.Context(), contracts.KeyDelivery(m.Conversation, m.ID), "status").Val()
		}
		p.publish(sent)
		workerstest.Eventually(t, "one is sent", func() bool { return status(sent) == contracts.DeliverySent })
		p.publish(pending)
		workerstest.Eventually(t, "one waits", func() bool { return status(pending) == contracts.DeliveryPending && len(platform.Calls()) == 2 })
		must(t, p.store.Erase(t.Context(), "test", sent.Conversation))
		if status(sent) != "" || status(pending) != contracts.DeliveryPending {
			t.Errorf("left: %q and %q", status(sent), status(pending))
		}
	})
}
