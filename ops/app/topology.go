package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/ops/config"
)

// topology knows what streams and consumers must exist, and makes them so.
type topology struct {
	js  jetstream.JetStream
	c   config.Config
	log zerolog.Logger
	mu  sync.Mutex // one repair at a time
}

const (
	maxMessage  = 1 << 20 // bytes; the stream's limit of one message (ops/docs/adr/0005)
	deadLetters = 30 * 24 * time.Hour
)

func newTopology(nc *nats.Conn, c config.Config, log zerolog.Logger) (*topology, error) {
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(5*time.Second))
	if err != nil {
		return nil, err
	}
	return &topology{js: js, c: c, log: log}, nil
}

// keptTotal and keptPerConversation are the room for finished messages that
// wait for the purge, on top of the limits for those that wait for an answer.
func keptTotal(q config.Queue) int64           { return max(1, q.MaxMessages/4) }
func keptPerConversation(q config.Queue) int64 { return max(1, q.MaxPerConversation/4) }

// sendBytes is the size of SEND: the broker keeps the room of each stream free, and
// answers wait for a shorter time than messages.
func sendBytes(q config.Queue) int64 { return max(1, q.MaxBytes/2) }

func chatStream(c config.Config) jetstream.StreamConfig {
	s := queueStream(c, contracts.StreamChat, contracts.SubjectsChat)
	s.Description, s.AllowAtomicPublish = "messages on their way to the workers", true
	return s
}

func sendStream(c config.Config) jetstream.StreamConfig {
	s := queueStream(c, contracts.StreamSend, contracts.SubjectsSend)
	s.Description, s.MaxBytes = "answers on their way to IM platforms and callback URLs", sendBytes(c.Queue)
	return s
}

// queueStream is a stream that is a mailbox: it refuses what does not fit, and
// keeps what is finished until a purge.
func queueStream(c config.Config, name, subjects string) jetstream.StreamConfig {
	q := c.Queue
	return jetstream.StreamConfig{
		Name: name, Subjects: []string{subjects},
		Retention: jetstream.LimitsPolicy, // ops/docs/adr/0001
		Storage:   jetstream.FileStorage, Replicas: c.NATS.Replicas,
		Discard: jetstream.DiscardNew, MaxMsgs: q.MaxMessages + keptTotal(q), MaxBytes: q.MaxBytes,
		MaxMsgsPerSubject: q.MaxPerConversation + keptPerConversation(q), DiscardNewPerSubject: true,
		MaxMsgSize: maxMessage, Duplicates: q.Duplicates, AllowDirect: true, MaxConsumers: -1,
	}
}

func deadStream(c config.Config) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: contracts.StreamDead, Subjects: []string{contracts.SubjectsDead}, Description: "dead letters",
		Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Replicas: c.NATS.Replicas,
		MaxAge: deadLetters, Duplicates: time.Hour, AllowDirect: true, MaxConsumers: -1,
	}
}

// queue is a stream that is a mailbox, with its one consumer.
type queue struct{ name, consumer string }

func chatQueue() queue { return queue{contracts.StreamChat, contracts.ConsumerChat} }
func sendQueue() queue { return queue{contracts.StreamSend, contracts.ConsumerSend} }

func (q queue) consumerConfig(c config.Config) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: q.consumer, AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverAllPolicy,
		AckWait: c.Queue.AckWait, MaxDeliver: -1, MaxAckPending: c.Queue.MaxAckPending, MaxWaiting: 2048,
	}
}

// ensure makes every stream and consumer exist as configured. It corrects what
// can be corrected and refuses what cannot.
func (t *topology) ensure(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, want := range []jetstream.StreamConfig{chatStream(t.c), sendStream(t.c), deadStream(t.c)} {
		if err := t.ensureStream(ctx, want); err != nil {
			return err
		}
	}
	for _, q := range []queue{chatQueue(), sendQueue()} {
		_, err := t.js.CreateOrUpdateConsumer(ctx, q.name, q.consumerConfig(t.c))
		if err := t.judge("consumer "+q.consumer, err); err != nil {
			return err
		}
	}
	return t.judge("bucket "+contracts.BucketConfig, t.ensureBucket(ctx))
}

func (t *topology) ensureStream(ctx context.Context, want jetstream.StreamConfig) error {
	have, err := t.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		want.FirstSeq = firstSequence(time.Now())
		var made jetstream.Stream
		made, err = t.js.CreateStream(ctx, want)
		if err == nil {
			t.log.Info().Str("stream", want.Name).Msg("stream created")
			return understood(made, want)
		}
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return t.judge("stream "+want.Name, err)
		}
		have, err = t.js.Stream(ctx, want.Name) // another process was faster
	}
	if err != nil {
		return t.judge("stream "+want.Name, err)
	}
	is := have.CachedInfo().Config
	if is.Retention != want.Retention || is.Storage != want.Storage {
		return refusal{fmt.Errorf("stream %s has retention %s and storage %s, needed are %s and %s, which cannot be changed in place: "+
			"drain it and delete it, or give moltbot a NATS account of its own", want.Name, is.Retention, is.Storage, want.Retention, want.Storage)}
	}
	if same(is, want) {
		return nil
	}
	want.FirstSeq = is.FirstSeq
	corrected, err := t.js.UpdateStream(ctx, want)
	if err != nil {
		return t.judge("stream "+want.Name, err)
	}
	t.log.Warn().Str("stream", want.Name).Msg("stream settings differed from the configuration and were corrected")
	return understood(corrected, want)
}

// understood refuses a server that accepted the settings and dropped those it
// does not know.
func understood(s jetstream.Stream, want jetstream.StreamConfig) error {
	if same(s.CachedInfo().Config, want) {
		return nil
	}
	return refusal{fmt.Errorf("stream %s was not made as asked: NATS 2.12 or newer is needed", want.Name)}
}

// firstSequence lets the sequences of a stream that is deleted and made again go
// on above those of the old one, so that what Redis remembers of the old stream
// is never taken for a place in the new one. Microseconds grow faster than
// sequences do, and stay exact in Lua's numbers (2^53) until the year 2255.
func firstSequence(now time.Time) uint64 { return uint64(now.UnixMicro()) }

// same compares what we set; the server adds defaults of its own to the rest.
func same(a, b jetstream.StreamConfig) bool {
	return len(a.Subjects) == 1 && a.Subjects[0] == b.Subjects[0] && a.Replicas == b.Replicas && a.Discard == b.Discard &&
		a.MaxMsgs == orUnlimited(b.MaxMsgs) && a.MaxBytes == orUnlimited(b.MaxBytes) &&
		a.MaxMsgsPerSubject == orUnlimited(b.MaxMsgsPerSubject) && a.DiscardNewPerSubject == b.DiscardNewPerSubject &&
		int64(a.MaxMsgSize) == orUnlimited(int64(b.MaxMsgSize)) && a.MaxAge == b.MaxAge && a.Duplicates == b.Duplicates &&
		a.AllowDirect == b.AllowDirect && a.AllowAtomicPublish == b.AllowAtomicPublish
}

func orUnlimited(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}

// judge tells what waiting may mend (no leader yet, no connection) from what it
// will not (a setting the server refuses).
func (t *topology) judge(what string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s: %w", what, err)
	var api *jetstream.APIError
	if errors.As(err, &api) && final(api) {
		return refusal{err}
	}
	return err
}

// Error codes of the server whose HTTP-like code says the wrong thing.
const (
	codeNoPeers       jetstream.ErrorCode = 10005 // 400; servers of the cluster are still starting
	codeInvalidConfig jetstream.ErrorCode = 10052 // 500
	codeNoReplicas    jetstream.ErrorCode = 10074 // 500; replicas on a server that is alone
	codeMoving        jetstream.ErrorCode = 10124 // 400
	codeReconfiguring jetstream.ErrorCode = 10226 // 400
)

// final reports whether asking again would bring the same answer.
func final(e *jetstream.APIError) bool {
	switch e.ErrorCode {
	case codeInvalidConfig, codeNoReplicas:
		return true
	case codeNoPeers, codeMoving, codeReconfiguring:
		return false
	}
	switch e.Code {
	case http.StatusNotFound, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	}
	return e.Code >= 400 && e.Code < 500
}

// consumer finds the consumer of the messages and makes it, and the stream,
// again where somebody deleted them.
func (t *topology) consumer(ctx context.Context) (jetstream.Consumer, error) {
	return t.consumerOf(ctx, chatQueue())
}

// sendConsumer is the same for answers on their way out.
func (t *topology) sendConsumer(ctx context.Context) (jetstream.Consumer, error) {
	return t.consumerOf(ctx, sendQueue())
}

func (t *topology) consumerOf(ctx context.Context, q queue) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := t.js.Consumer(ctx, q.name, q.consumer)
	if err == nil {
		return c, nil
	}
	if !errors.Is(err, jetstream.ErrConsumerNotFound) && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("find consumer: %w", err)
	}
	t.log.Error().Err(err).Str("stream", q.name).Msg("the queue is missing, making it again")
	if err := t.ensure(ctx); err != nil {
		return nil, err
	}
	return t.js.Consumer(ctx, q.name, q.consumer)
}

// status counts what is in the queue.
func (t *topology) status(ctx context.Context) (q contracts.QueueStatus, err error) {
	c, err := t.js.Consumer(ctx, contracts.StreamChat, contracts.ConsumerChat)
	if err != nil {
		return q, fmt.Errorf("read consumer: %w", err)
	}
	info := c.CachedInfo()
	q.Waiting, q.InProgress = info.NumPending, info.NumAckPending
	send, err := t.js.Consumer(ctx, contracts.StreamSend, contracts.ConsumerSend)
	if err != nil {
		return q, fmt.Errorf("read consumer of answers: %w", err)
	}
	out := send.CachedInfo()
	q.Sending = out.NumPending + uint64(max(0, out.NumAckPending))
	dead, err := t.js.Stream(ctx, contracts.StreamDead)
	if err != nil {
		return q, fmt.Errorf("read dead letters: %w", err)
	}
	q.Dead = dead.CachedInfo().State.Msgs
	return q, nil
}
