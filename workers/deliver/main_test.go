package deliver_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"moltbot/contracts"
	"moltbot/workers/deliver"
	"moltbot/workers/deliver/delivertest"
	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var must = workerstest.Must

// post is a courier over a store and a platform.
type post struct {
	t        *testing.T
	rdb      redis.UniversalClient
	platform *delivertest.Platform
	options  deliver.Options
	namer    *contracts.Namer
	now      time.Time
}

func newPost(t *testing.T, rdb redis.UniversalClient) *post {
	t.Helper()
	p := &post{t: t, rdb: rdb, platform: &delivertest.Platform{}, namer: workerstest.Namer(t), now: time.Now()}
	p.options = deliver.Options{
		Senders: map[contracts.Channel]deliver.Sender{contracts.ChannelFeishu: p.platform, contracts.ChannelCallback: p.platform},
		Sealer:  workerstest.Sealer{}, Redis: rdb, Keys: contracts.SendKeys, Digest: p.namer.Digest, Log: zerolog.Nop(),
	}
	return p
}

// answer is one to the n-th message of a chat.
func (p *post) answer(chat string, n int, text string) contracts.Answer {
	c := p.namer.Conversation(contracts.Scope{Channel: contracts.ChannelFeishu, App: "a", Session: chat})
	id := p.namer.NewID(c, "test", time.UnixMilli(int64(n)), p.namer.Digest("test", strconv.Itoa(n)))
	return contracts.Answer{
		ID: id.String(), Text: text, Accepted: p.now, Origin: &contracts.Origin{App: "a", Chat: chat, At: p.now},
		Result: contracts.Result{At: p.now, Run: 1},
	}
}

// task is a delivery of it; run is the fence that the mailbox has.
func (p *post) task(a contracts.Answer, run int64, replay int) mailbox.Task {
	p.t.Helper()
	id, err := contracts.ParseID(a.ID)
	must(p.t, err)
	id.Replay = replay
	data, err := workerstest.Sealer{}.Seal(contracts.EncodeAnswer(a), contracts.KindSend, id.Conversation, id.String())
	must(p.t, err)
	b, err := contracts.EncodeOutgoing(contracts.Outgoing{ID: id.String(), Conversation: id.Conversation, Channel: a.Channel(contracts.ChannelFeishu), Data: data})
	must(p.t, err)
	_, letter, err := deliver.Identify(b)
	must(p.t, err)
	must(p.t, p.rdb.HSet(context.Background(), contracts.SendKeys(id.Conversation).Box, "fence", run).Err())
	return mailbox.Task{ID: id.String(), Conversation: id.Conversation, Data: b, Letter: letter, Run: run, Attempt: 1}
}

func (p *post) courier() *deliver.Courier {
	p.t.Helper()
	c, err := deliver.New(p.options)
	must(p.t, err)
	return c
}

// run delivers, and where that fails for good ends it as the mailbox does.
func (p *post) run(t mailbox.Task) error {
	p.t.Helper()
	c := p.courier()
	_, err := c.Run(p.t.Context(), t)
	if e := contracts.Public(err); e != nil && e.Code.Buried() {
		c.Fail(t, e)
	}
	return err
}

func (p *post) record(a contracts.Answer) contracts.Delivery {
	p.t.Helper()
	id, err := contracts.ParseID(a.ID)
	must(p.t, err)
	d, _, err := deliver.NewRecords(p.rdb).Delivery(p.t.Context(), id)
	must(p.t, err)
	return d
}

// onEach runs f with each kind of Redis.
func onEach(t *testing.T, f func(t *testing.T, p *post)) {
	t.Helper()
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) { f(t, newPost(t, rdb)) })
}

func wantCode(t *testing.T, err error, code contracts.Code, retryable bool) {
	t.Helper()
	if e := contracts.Public(err); e == nil || e.Code != code || e.Retryable != retryable {
		t.Fatalf("error %v, want code %q, retryable %t", err, code, retryable)
	}
}
