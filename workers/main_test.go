package workers

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/model"
	"moltbot/workers/prompt"
	"moltbot/workers/session"
	"moltbot/workers/workerstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var must = workerstest.Must

// plant is a broker, a store and what the role needs of them.
type plant struct {
	t     *testing.T
	nats  *workerstest.NATS
	nc    *nats.Conn
	js    jetstream.JetStream
	rdb   redis.UniversalClient
	store *session.Store
	namer *contracts.Namer
}

func newPlant(t *testing.T) *plant {
	t.Helper()
	p := &plant{t: t, nats: workerstest.StartNATS(t), rdb: workerstest.MiniRedis(t), namer: workerstest.Namer(t)}
	p.nc = p.nats.Connect(t)
	var err error
	p.js, err = jetstream.New(p.nc)
	must(t, err)
	workerstest.MakeStreams(t, p.js, workerstest.Queue{})
	p.store = session.New(session.Options{Redis: p.rdb, Sealer: workerstest.Sealer{}})
	return p
}

// consumer finds the consumer, or makes it again.
func (p *plant) consumer(ctx context.Context) (jetstream.Consumer, error) {
	return p.js.CreateOrUpdateConsumer(ctx, contracts.StreamChat, workerstest.ChatConsumer(workerstest.Queue{AckWait: 30 * time.Second}))
}

func (p *plant) message(session string, n int, text, replyTo string) contracts.Message {
	c := p.namer.Conversation(contracts.Scope{Channel: contracts.ChannelAPI, Caller: "test", Session: session})
	at := time.UnixMilli(int64(n))
	return contracts.Message{
		ID: p.namer.NewID(c, "test", at, p.namer.Digest("test", strconv.Itoa(n))).String(), Conversation: c,
		Channel: contracts.ChannelAPI, ReplyTo: replyTo, Accepted: at, Caller: "test", SessionID: session, Text: text,
	}
}

func (p *plant) publish(m contracts.Message) {
	p.t.Helper()
	b, err := contracts.EncodeMessage(m, workerstest.Sealer{})
	must(p.t, err)
	_, err = p.js.Publish(context.Background(), contracts.SubjectChat(m.Conversation), b, jetstream.WithMsgID(m.ID))
	must(p.t, err)
}

// inbox answers as an ingress does and gives the replies that arrive.
func (p *plant) inbox(node string) (subject string, replies chan contracts.Reply) {
	p.t.Helper()
	replies = make(chan contracts.Reply, 64)
	subject = contracts.SubjectReply(node)
	_, err := p.nc.Subscribe(subject, func(m *nats.Msg) {
		if r, err := contracts.DecodeReply(m.Data); err == nil {
			select {
			case replies <- r:
			case <-p.t.Context().Done(): // nobody reads any more: drafts of a run that streams are many
			}
		}
		_ = m.Respond([]byte(contracts.ReplyTaken))
	})
	must(p.t, err)
	must(p.t, p.nc.Flush())
	return subject, replies
}

// result opens a reply.
func (p *plant) result(r contracts.Reply) contracts.Result {
	p.t.Helper()
	id, err := contracts.ParseID(r.ID)
	must(p.t, err)
	res, err := p.store.OpenReply(id, r.Data)
	must(p.t, err)
	return res
}

func (p *plant) options(c model.Completer) Options {
	p.t.Helper()
	b, err := prompt.New(prompt.Options{})
	must(p.t, err)
	return Options{
		Node: "node1", Conn: p.nc, Redis: p.rdb, Sealer: workerstest.Sealer{}, Store: p.store, Models: model.Only{Completer: c},
		Prompt: b, Log: zerolog.Nop(), Consumer: p.consumer, Slots: 8, SoftStop: 10 * time.Second,
		Mailbox: mailbox.Options{BusyDelay: 20 * time.Millisecond, RetryBase: 10 * time.Millisecond, RetryMax: 20 * time.Millisecond},
	}
}

// completer asks the test what to answer.
type completer func(ctx context.Context, r model.Request) (model.Answer, error)

func (f completer) Complete(ctx context.Context, r model.Request) (model.Answer, error) {
	return f(ctx, r)
}

func said(text string) model.Answer {
	return model.Answer{Text: text, Model: "m", Version: "test/m", Finish: "stop"}
}
