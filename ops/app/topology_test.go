package app

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
	"moltbot/ops/config"
	"moltbot/ops/embedded"
	"moltbot/workers/workerstest"
)

const aConversation = "00000000000000000000000000"

// onNATS gives the topology of c over an embedded server, and what it logs.
func onNATS(t *testing.T, c config.Config) (*topology, *book) {
	t.Helper()
	n, err := embedded.StartNATS(embedded.NATSOptions{StoreDir: t.TempDir()})
	must(t, err)
	t.Cleanup(func() { _ = n.Shutdown(context.Background()) })
	nc, err := n.Connect()
	must(t, err)
	t.Cleanup(nc.Close)
	lines := &book{}
	top, err := newTopology(nc, c, lines.log())
	must(t, err)
	return top, lines
}

func ensured(t *testing.T, c config.Config) (*topology, *book) {
	t.Helper()
	top, lines := onNATS(t, c)
	must(t, top.ensure(t.Context()))
	return top, lines
}

func streamInfo(t *testing.T, top *topology, name string) *jetstream.StreamInfo {
	t.Helper()
	s, err := top.js.Stream(t.Context(), name)
	must(t, err)
	return s.CachedInfo()
}

func consumerInfo(t *testing.T, top *topology) *jetstream.ConsumerInfo {
	t.Helper()
	c, err := top.js.Consumer(t.Context(), contracts.StreamChat, contracts.ConsumerChat)
	must(t, err)
	return c.CachedInfo()
}

func publish(t *testing.T, top *topology, subject string) *jetstream.PubAck {
	t.Helper()
	ack, err := top.js.Publish(t.Context(), subject, []byte("x"))
	must(t, err)
	return ack
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}

func TestEnsureCreates(t *testing.T) {
	conf := config.Default()
	conf.Queue.MaxMessages, conf.Queue.MaxPerConversation = 1000, 8
	top, _ := ensured(t, conf)

	c := streamInfo(t, top, contracts.StreamChat).Config
	equal(t, "retention", c.Retention, jetstream.LimitsPolicy)
	equal(t, "storage", c.Storage, jetstream.FileStorage)
	equal(t, "discard", c.Discard, jetstream.DiscardNew)
	equal(t, "discard per subject", c.DiscardNewPerSubject, true)
	equal(t, "messages", c.MaxMsgs, 1250)
	equal(t, "messages per subject", c.MaxMsgsPerSubject, 10)
	equal(t, "bytes", c.MaxBytes, conf.Queue.MaxBytes)
	equal(t, "bytes of a message", c.MaxMsgSize, 1<<20)
	equal(t, "age", c.MaxAge, 0)
	equal(t, "duplicates", c.Duplicates, conf.Queue.Duplicates)
	equal(t, "direct", c.AllowDirect, true)
	equal(t, "atomic publish", c.AllowAtomicPublish, true)
	equal(t, "subjects", fmt.Sprint(c.Subjects), "["+contracts.SubjectsChat+"]")

	out := streamInfo(t, top, contracts.StreamSend).Config
	equal(t, "answers: retention", out.Retention, jetstream.LimitsPolicy)
	equal(t, "answers: storage", out.Storage, jetstream.FileStorage)
	equal(t, "answers: discard", out.Discard, jetstream.DiscardNew)
	equal(t, "answers: discard per subject", out.DiscardNewPerSubject, true)
	equal(t, "answers: per subject", out.MaxMsgsPerSubject, 10)
	equal(t, "answers: bytes", out.MaxBytes, conf.Queue.MaxBytes/2)
	equal(t, "answers: bytes of one", out.MaxMsgSize, 1<<20)
	equal(t, "answers: age", out.MaxAge, 0)
	equal(t, "answers: subjects", fmt.Sprint(out.Subjects), "["+contracts.SubjectsSend+"]")

	d := streamInfo(t, top, contracts.StreamDead).Config
	equal(t, "dead letters: retention", d.Retention, jetstream.LimitsPolicy)
	equal(t, "dead letters: storage", d.Storage, jetstream.FileStorage)
	equal(t, "dead letters: age", d.MaxAge, 30*24*time.Hour)
	equal(t, "dead letters: subjects", fmt.Sprint(d.Subjects), "["+contracts.SubjectsDead+"]")

	w := consumerInfo(t, top).Config
	equal(t, "ack policy", w.AckPolicy, jetstream.AckExplicitPolicy)
	equal(t, "deliver policy", w.DeliverPolicy, jetstream.DeliverAllPolicy)
	equal(t, "ack wait", w.AckWait, conf.Queue.AckWait)
	equal(t, "max deliver", w.MaxDeliver, -1)
	equal(t, "max ack pending", w.MaxAckPending, conf.Queue.MaxAckPending)
}

// What is full refuses the new, and never drops the old.
func TestChatRefusesWhatDoesNotFit(t *testing.T) {
	conf := config.Default()
	conf.Queue.MaxMessages, conf.Queue.MaxPerConversation = 1000, 1
	top, _ := ensured(t, conf)
	subject := contracts.SubjectChat(aConversation)
	first := publish(t, top, subject)
	publish(t, top, subject)
	if _, err := top.js.Publish(t.Context(), subject, []byte("x")); err == nil {
		t.Error("a conversation that is full takes one more")
	}
	equal(t, "first message", streamInfo(t, top, contracts.StreamChat).State.FirstSeq, first.Sequence)
	if _, err := top.js.Publish(t.Context(), contracts.SubjectChat("other"), make([]byte, 1<<20+1)); err == nil {
		t.Error("a message over the limit is taken")
	}
}

// What ingress accepts at most leaves room for the envelope of a dead letter.
func TestDeadLetterOfALargeMessage(t *testing.T) {
	top, _ := ensured(t, config.Default())
	large := make([]byte, 1<<20-16<<10+2<<10) // the parts of a message, and what is put around them
	data, err := contracts.EncodeDead(contracts.Dead{ID: "raw", Detail: make([]byte, 4<<10), Original: large})
	must(t, err)
	_, err = top.js.Publish(t.Context(), contracts.SubjectDead("workers"), data)
	must(t, err)
}

func TestEnsureTwiceChangesNothing(t *testing.T) {
	top, lines := ensured(t, config.Default())
	before := []any{
		streamInfo(t, top, contracts.StreamChat).Config, streamInfo(t, top, contracts.StreamDead).Config, consumerInfo(t, top).Config,
	}
	said := lines.String()
	must(t, top.ensure(t.Context()))
	after := []any{
		streamInfo(t, top, contracts.StreamChat).Config, streamInfo(t, top, contracts.StreamDead).Config, consumerInfo(t, top).Config,
	}
	if !reflect.DeepEqual(before, after) {
		t.Errorf("changed from\n%+v to\n%+v", before, after)
	}
	equal(t, "log", lines.String(), said)
}

func TestEnsureCorrectsDrift(t *testing.T) {
	for name, drift := range map[string]func(*jetstream.StreamConfig){
		"messages":     func(c *jetstream.StreamConfig) { c.MaxMsgs = 5 },
		"bytes":        func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20 },
		"per subject":  func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 3 },
		"duplicates":   func(c *jetstream.StreamConfig) { c.Duplicates = time.Second },
		"message size": func(c *jetstream.StreamConfig) { c.MaxMsgSize = 100 },
		"age":          func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
		"discard":      func(c *jetstream.StreamConfig) { c.Discard, c.DiscardNewPerSubject = jetstream.DiscardOld, false },
		"direct":       func(c *jetstream.StreamConfig) { c.AllowDirect = false },
		"atomic":       func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false },
		"subjects":     func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "more.*") },
	} {
		t.Run(name, func(t *testing.T) {
			top, lines := ensured(t, config.Default())
			want := streamInfo(t, top, contracts.StreamChat)
			ack := publish(t, top, contracts.SubjectChat(aConversation))
			bad := want.Config
			drift(&bad)
			_, err := top.js.UpdateStream(t.Context(), bad)
			must(t, err)

			must(t, top.ensure(t.Context()))
			got := streamInfo(t, top, contracts.StreamChat)
			if !reflect.DeepEqual(got.Config, want.Config) {
				t.Errorf("config is\n%+v, want\n%+v", got.Config, want.Config)
			}
			equal(t, "messages", got.State.Msgs, 1)
			equal(t, "their sequence", got.State.FirstSeq, ack.Sequence)
			equal(t, "lines", len(lines.errorsOf(t, "stream settings differed from the configuration and were corrected")), 1)
		})
	}
}

func TestEnsureCorrectsTheConsumer(t *testing.T) {
	top, _ := ensured(t, config.Default())
	want := consumerInfo(t, top).Config
	publish(t, top, contracts.SubjectChat(aConversation))
	bad := want
	bad.AckWait, bad.MaxAckPending = time.Second, 1
	_, err := top.js.UpdateConsumer(t.Context(), contracts.StreamChat, bad)
	must(t, err)
	must(t, top.ensure(t.Context()))
	got := consumerInfo(t, top)
	equal(t, "ack wait", got.Config.AckWait, want.AckWait)
	equal(t, "max ack pending", got.Config.MaxAckPending, want.MaxAckPending)
	workerstest.Eventually(t, "one waiting message", func() bool { return consumerInfo(t, top).NumPending == 1 })
}

func TestEnsureRefusesAnotherKindOfStream(t *testing.T) {
	for name, c := range map[string]jetstream.StreamConfig{
		"workqueue": {Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage},
		"memory":    {Retention: jetstream.LimitsPolicy, Storage: jetstream.MemoryStorage},
	} {
		t.Run(name, func(t *testing.T) {
			top, _ := onNATS(t, config.Default())
			c.Name, c.Subjects = contracts.StreamChat, []string{contracts.SubjectsChat}
			_, err := top.js.CreateStream(t.Context(), c)
			must(t, err)
			publish(t, top, contracts.SubjectChat(aConversation))
			refused(t, top.ensure(t.Context()), "stream CHAT", c.Retention.String(), c.Storage.String(), "drain it and delete it", "account of its own")
			equal(t, "messages", streamInfo(t, top, contracts.StreamChat).State.Msgs, 1)
		})
	}
}

// Somebody else's stream on our subjects, or replicas on one server: the server
// refuses, and will again.
func TestEnsurePassesRefusalsOn(t *testing.T) {
	t.Run("overlap", func(t *testing.T) {
		top, _ := onNATS(t, config.Default())
		_, err := top.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"chat.>"}})
		must(t, err)
		refused(t, top.ensure(t.Context()), "stream CHAT", "overlap")
	})
	t.Run("replicas", func(t *testing.T) {
		c := config.Default()
		c.NATS.Replicas = 3
		top, _ := onNATS(t, c)
		refused(t, top.ensure(t.Context()), "stream CHAT", "replicas")
	})
}

func TestSequencesGoOnAboveADeletedStream(t *testing.T) {
	top, _ := ensured(t, config.Default())
	subject := contracts.SubjectChat(aConversation)
	var last uint64
	for range 20 {
		last = publish(t, top, subject).Sequence
	}
	must(t, top.js.DeleteStream(t.Context(), contracts.StreamChat))
	must(t, top.ensure(t.Context()))
	if ack := publish(t, top, subject); ack.Sequence <= last {
		t.Errorf("sequence %d after a new start, the last one before was %d", ack.Sequence, last)
	}
}

func TestFirstSequenceStaysExactInLua(t *testing.T) {
	if s := firstSequence(time.Date(2254, 1, 1, 0, 0, 0, 0, time.UTC)); s >= 1<<53 {
		t.Errorf("%d is over 2^53", s)
	}
	at := time.Now()
	if firstSequence(at.Add(time.Second))-firstSequence(at) != 1_000_000 {
		t.Error("it does not grow by a million a second")
	}
}

func TestConsumerIsFoundOrMadeAgain(t *testing.T) {
	nothing := func(*testing.T, *topology) {}
	for name, c := range map[string]struct {
		breaks func(*testing.T, *topology)
		lines  int
	}{
		"found": {nothing, 0},
		"consumer deleted": {func(t *testing.T, top *topology) {
			must(t, top.js.DeleteConsumer(t.Context(), contracts.StreamChat, contracts.ConsumerChat))
		}, 1},
		"stream deleted": {func(t *testing.T, top *topology) {
			must(t, top.js.DeleteStream(t.Context(), contracts.StreamChat))
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			top, lines := ensured(t, config.Default())
			c.breaks(t, top)
			got, err := top.consumer(t.Context())
			must(t, err)
			equal(t, "consumer", got.CachedInfo().Name, contracts.ConsumerChat)
			publish(t, top, contracts.SubjectChat(aConversation))
			m, err := got.Next(jetstream.FetchMaxWait(patience))
			must(t, err)
			must(t, m.DoubleAck(t.Context()))
			equal(t, "lines", len(lines.errorsOf(t, "the queue is missing, making it again")), c.lines)
		})
	}
}

func TestConsumerWithoutAServer(t *testing.T) {
	top, lines := ensured(t, config.Default())
	top.js.Conn().Close()
	if _, err := top.consumer(t.Context()); err == nil {
		t.Error("a consumer is found without a connection")
	}
	equal(t, "log", len(lines.errorsOf(t, "the queue is missing, making it again")), 0)
}

func TestJudge(t *testing.T) {
	api := func(code int, ec jetstream.ErrorCode) error {
		return fmt.Errorf("step: %w", &jetstream.APIError{Code: code, ErrorCode: ec, Description: "d"})
	}
	top := &topology{}
	if err := top.judge("stream X", nil); err != nil {
		t.Errorf("judge of nil = %v", err)
	}
	for _, c := range []struct {
		err    error
		refuse bool
	}{
		{api(400, 10065), true}, {api(400, 10058), true}, {api(403, 0), true}, {api(409, 0), true}, {api(499, 0), true},
		{api(500, 10052), true}, {api(500, 10074), true},
		{api(404, 10059), false}, {api(408, 0), false}, {api(429, 10167), false}, {api(399, 0), false},
		{api(500, 10049), false}, {api(503, 10008), false}, {api(503, 10076), false},
		{api(400, 10005), false}, {api(400, 10124), false}, {api(400, 10226), false},
		{context.DeadlineExceeded, false}, {errors.New("no connection"), false},
	} {
		err := top.judge("stream X", c.err)
		if isRefusal(err) != c.refuse {
			t.Errorf("%v: refusal = %v, want %v", c.err, !c.refuse, c.refuse)
		}
		hasText(t, err.Error(), "stream X: ", c.err.Error())
	}
}

func TestStatusCounts(t *testing.T) {
	top, _ := ensured(t, config.Default())
	for range 3 {
		publish(t, top, contracts.SubjectChat(aConversation))
	}
	publish(t, top, contracts.SubjectDead("workers"))
	publish(t, top, contracts.SubjectSend(contracts.ChannelFeishu, aConversation))
	publish(t, top, contracts.SubjectSend(contracts.ChannelCallback, aConversation))
	out, err := top.sendConsumer(t.Context())
	must(t, err)
	_, err = out.Next(jetstream.FetchMaxWait(patience))
	must(t, err)
	c, err := top.consumer(t.Context())
	must(t, err)
	_, err = c.Next(jetstream.FetchMaxWait(patience))
	must(t, err)
	// The server counts what waits behind the acknowledgement of the publisher.
	workerstest.Eventually(t, "2 waiting, 1 in progress, 1 dead", func() bool {
		q, err := top.status(t.Context())
		must(t, err)
		return q == contracts.QueueStatus{Waiting: 2, InProgress: 1, Dead: 1, Sending: 2}
	})
	must(t, top.js.DeleteStream(t.Context(), contracts.StreamDead))
	if _, err := top.status(t.Context()); err == nil {
		t.Error("a status without dead letters")
	}
}
