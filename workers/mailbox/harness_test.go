package mailbox_test

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

var must = workerstest.Must

// stage is everything around the mailboxes of one test.
type stage struct {
	t      testing.TB
	queue  workerstest.Queue
	nats   *workerstest.NATS
	nc     *nats.Conn
	js     jetstream.JetStream
	rdb    redis.UniversalClient
	ledger *ledger
	namer  *contracts.Namer
	nodes  atomic.Int32
	view   atomic.Pointer[mailbox.View]
	lose   func() bool // says of a delivery that it gets lost on its way; nil: none does
}

func newStage(t testing.TB, rdb redis.UniversalClient, q workerstest.Queue) *stage {
	t.Helper()
	s := &stage{
		t: t, queue: q, nats: workerstest.StartNATS(t), rdb: rdb, ledger: newLedger(), namer: workerstest.Namer(t),
	}
	s.connect()
	workerstest.MakeStreams(t, s.js, q)
	s.look()
	return s
}

func (s *stage) connect() {
	s.t.Helper()
	s.nc = s.nats.Connect(s.t)
	var err error
	s.js, err = jetstream.New(s.nc)
	must(s.t, err)
}

// look renews the view that workers without a janitor have.
func (s *stage) look() {
	s.t.Helper()
	st, err := s.js.Stream(context.Background(), contracts.StreamChat)
	must(s.t, err)
	i := st.CachedInfo()
	s.view.Store(&mailbox.View{Created: i.Created, FirstSeq: i.State.FirstSeq})
}

func (s *stage) conversation(name string) string {
	return s.namer.Conversation(contracts.Scope{Channel: contracts.ChannelAPI, Caller: "test", Session: name})
}

// id names the n-th message of a conversation.
func (s *stage) id(conversation string, n int) string {
	at := time.UnixMilli(int64(n))
	return s.namer.NewID(conversation, "test", at, s.namer.Digest("test", strconv.Itoa(n))).String()
}

func (s *stage) letter(conversation string, n int) []byte {
	s.t.Helper()
	b, err := contracts.EncodeMessage(contracts.Message{
		ID: s.id(conversation, n), Conversation: conversation, Channel: contracts.ChannelAPI,
		Accepted: time.UnixMilli(int64(n)), Caller: "test", Text: strconv.Itoa(n),
	}, workerstest.Sealer{})
	must(s.t, err)
	return b
}

// publish stores the n-th message of a conversation and gives its id.
func (s *stage) publish(conversation string, n int) string {
	s.t.Helper()
	id := s.id(conversation, n)
	s.ledger.published(conversation, id)
	_, err := s.js.Publish(context.Background(), contracts.SubjectChat(conversation), s.letter(conversation, n), jetstream.WithMsgID(id))
	must(s.t, err)
	return id
}

func (s *stage) options(run func(context.Context, mailbox.Task) (mailbox.Outcome, error)) mailbox.Options {
	return mailbox.Options{
		Conn: s.nc, Redis: s.rdb, Runner: &actor{ledger: s.ledger, run: run}, Log: zerolog.Nop(),
		Stream: contracts.StreamChat, Role: "workers", Keys: contracts.ChatKeys, Sealer: workerstest.Sealer{},
		Identify: func(b []byte) (string, any, error) {
			l, err := contracts.DecodeLetter(b)
			return l.ID, l, err
		},
		Look: func() mailbox.View { return *s.view.Load() }, Window: 10, AckWait: s.queue.AckWait,
		BusyDelay: 20 * time.Millisecond, RetryBase: 10 * time.Millisecond, RetryMax: 40 * time.Millisecond,
	}
}

type runFunc = func(context.Context, mailbox.Task) (mailbox.Outcome, error)

// box gives a mailbox that the test feeds by hand.
func (s *stage) box(run runFunc, tweak ...func(*mailbox.Options)) *mailbox.Mailbox {
	s.t.Helper()
	o := s.options(run)
	for _, f := range tweak {
		f(&o)
	}
	m, err := mailbox.New("node"+strconv.Itoa(int(s.nodes.Add(1))), o)
	must(s.t, err)
	return m
}

func (s *stage) consumer() jetstream.Consumer {
	s.t.Helper()
	c, err := s.js.Consumer(context.Background(), contracts.StreamChat, contracts.ConsumerChat)
	must(s.t, err)
	return c
}

// next fetches one delivery.
func (s *stage) next() jetstream.Msg {
	s.t.Helper()
	c := s.consumer()
	var got jetstream.Msg
	workerstest.Eventually(s.t, "a delivery comes", func() bool {
		batch, err := c.Fetch(1, jetstream.FetchMaxWait(100*time.Millisecond))
		if err != nil {
			return false
		}
		for d := range batch.Messages() {
			got = d
		}
		return got != nil
	})
	return got
}

// worker pulls from the consumer into a mailbox, as the pool of package workers does.
type worker struct {
	box     *mailbox.Mailbox
	lose    func() bool
	stopped chan struct{}
	take    context.CancelFunc
	work    context.CancelFunc
	running sync.WaitGroup
	errs    atomic.Int32 // deliveries that ended with an error
}

const slots = 16

// worker starts a worker; it ends with the test.
func (s *stage) worker(run runFunc, tweak ...func(*mailbox.Options)) *worker {
	s.t.Helper()
	w := &worker{box: s.box(run, tweak...), lose: s.lose, stopped: make(chan struct{})}
	take, stopTake := context.WithCancel(context.Background())
	work, stopWork := context.WithCancel(context.Background())
	w.take, w.work = stopTake, stopWork
	js := s.js
	go func() {
		defer close(w.stopped)
		free := make(chan struct{}, slots)
		for take.Err() == nil {
			w.pull(take, work, js, free)
		}
		w.running.Wait()
	}()
	s.t.Cleanup(w.kill)
	return w
}

func (w *worker) pull(take, work context.Context, js jetstream.JetStream, used chan struct{}) {
	pause := time.NewTimer(5 * time.Millisecond)
	defer pause.Stop()
	ctx, cancel := context.WithTimeout(take, time.Second)
	defer cancel()
	c, err := js.Consumer(ctx, contracts.StreamChat, contracts.ConsumerChat)
	n := cap(used) - len(used)
	if err != nil || n == 0 {
		<-pause.C
		return
	}
	batch, err := c.Fetch(n, jetstream.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		<-pause.C
		return
	}
	for d := range batch.Messages() {
		if w.lose != nil && w.lose() {
			continue
		}
		w.box.Note(d)
		used <- struct{}{}
		w.running.Go(func() {
			defer func() { <-used }()
			if _, err := w.box.Handle(take, work, d); err != nil {
				w.errs.Add(1)
			}
		})
	}
}

// stop drains the worker.
func (w *worker) stop() {
	w.take()
	<-w.stopped
}

// kill ends what runs too.
func (w *worker) kill() {
	w.take()
	w.work()
	<-w.stopped
}

// settled looks twice, and at the stream first: a message on its way to a worker
// is for a moment counted neither as pending nor as delivered, and one that was
// just stored as neither, too.
func (s *stage) settled() bool {
	stream, err := s.js.Stream(context.Background(), contracts.StreamChat)
	if err != nil {
		return false
	}
	last := stream.CachedInfo().State.LastSeq
	for range 2 {
		c, err := s.js.Consumer(context.Background(), contracts.StreamChat, contracts.ConsumerChat)
		if err != nil {
			return false
		}
		if i := c.CachedInfo(); i.NumPending != 0 || i.NumAckPending != 0 || i.Delivered.Stream < last {
			return false
		}
	}
	return true
}

// finish waits until every message is replied to and acknowledged, and judges
// the order of the runs.
func (s *stage) finish() {
	s.t.Helper()
	workerstest.Eventually(s.t, "everything replied to and acknowledged", func() bool {
		messages, _, replied := s.ledger.totals()
		return replied >= messages && s.settled()
	})
	s.ledger.inOrder(s.t)
}

// turns are the ids in a conversation's context, in commit order.
func (s *stage) turns(conversation string) []string {
	s.t.Helper()
	v, err := s.rdb.LRange(context.Background(), contracts.KeySession(conversation), 0, -1).Result()
	must(s.t, err)
	return v
}

// committedOnce says that each message of each conversation was committed once, in order.
func (s *stage) committedOnce() {
	s.t.Helper()
	for c, sent := range s.ledger.sent {
		got := s.turns(c)
		if len(got) != len(sent) {
			s.t.Errorf("conversation %s: %d commits for %d messages: %v", c, len(got), len(sent), short(got))
			continue
		}
		for i := range got {
			if got[i] != sent[i] {
				s.t.Errorf("conversation %s: commit %d is %v", c, i, short(got[i:i+1]))
			}
		}
	}
}
