package deliver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
)

// Options of a Courier. What has no default is required.
type Options struct {
	// Senders speak to the receivers, by channel. What goes to another channel waits
	// as for a platform that is away: another process may have its sender.
	Senders map[contracts.Channel]Sender
	Sealer  contracts.Sealer
	Redis   redis.UniversalClient
	// Keys are those of the mailbox that the Courier is the Runner of: their fence
	// tells whether a run still has its conversation.
	Keys func(conversation string) contracts.BoxKeys
	// Digest is a keyed digest, for the keys of limits.
	Digest func(purpose string, parts ...string) string
	// Rate is how many calls in a second an application of a platform takes, and one
	// chat of it; 0: any number. Default: any number.
	Rate func(c contracts.Channel, app string) (all, chat int)
	// MaxAge is how old a user's message may be when its answer is sent; 0: any age.
	// Default: any age.
	MaxAge func(c contracts.Channel, app string) time.Duration
	// RetryFor is how long an answer is tried again. Default: 2h.
	RetryFor func(c contracts.Channel) time.Duration
	KeepFor  time.Duration // of records; default 24h
	// SendTimeout is the longest call, beyond what the senders allow themselves.
	// Default: 3m.
	SendTimeout time.Duration
	Metrics     *Metrics // nil: nothing is counted
	Log         zerolog.Logger
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Crash, in tests, is called at the named points.
	Crash func(point string)
}

// Courier is the mailbox.Runner of StreamSend: it sends one answer, part by part,
// and writes down before and after each part how far it is.
type Courier struct {
	o       Options
	records *records
	pace    *pace
}

// New checks o and makes a Courier.
func New(o Options) (*Courier, error) {
	if o.Sealer == nil || o.Redis == nil || o.Keys == nil || o.Digest == nil {
		return nil, errors.New("delivery options: Sealer, Redis, Keys and Digest are required")
	}
	if o.Rate == nil {
		o.Rate = func(contracts.Channel, string) (int, int) { return 0, 0 }
	}
	if o.MaxAge == nil {
		o.MaxAge = func(contracts.Channel, string) time.Duration { return 0 }
	}
	if o.RetryFor == nil {
		o.RetryFor = func(contracts.Channel) time.Duration { return 2 * time.Hour }
	}
	if o.KeepFor == 0 {
		o.KeepFor = 24 * time.Hour
	}
	if o.SendTimeout == 0 {
		o.SendTimeout = 3 * time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Courier{o: o, records: newRecords(&o), pace: newPace(&o)}, nil
}

// Identify names an outgoing message for the mailbox.
func Identify(data []byte) (id string, letter any, err error) {
	o, err := contracts.DecodeOutgoing(data)
	return o.ID, &o, err
}

// Run sends an answer as far as it is not sent yet.
func (c *Courier) Run(ctx context.Context, t mailbox.Task) (mailbox.Outcome, error) {
	j, err := c.journey(&t)
	if err != nil {
		return mailbox.Outcome{}, err
	}
	if j.opened, err = c.records.open(ctx, j.claim); err != nil {
		return mailbox.Outcome{}, elsewhere(err)
	}
	j.at = c.o.Now()
	return mailbox.Outcome{}, j.deliver(ctx)
}

// journey opens the answer of a task.
func (c *Courier) journey(t *mailbox.Task) (*journey, error) {
	out, ok := t.Letter.(*contracts.Outgoing)
	if !ok {
		return nil, unreadable(errors.New("no envelope"))
	}
	plain, err := c.o.Sealer.Open(out.Data, contracts.KindSend, out.Conversation, out.ID)
	if errors.Is(err, contracts.ErrNoKey) { // it gets here, or the message to others
		return nil, &contracts.Error{Code: contracts.CodeInternal, Message: "the answer cannot be opened here", Retryable: true, Err: err}
	}
	if err != nil {
		return nil, unreadable(err)
	}
	a, err := contracts.DecodeAnswer(plain)
	if err != nil {
		return nil, unreadable(err)
	}
	if (out.Channel == contracts.ChannelCallback) != (a.Origin == nil) {
		return nil, unreadable(errors.New("the answer is for another channel"))
	}
	id, err := contracts.ParseID(out.ID)
	if err != nil {
		return nil, unreadable(err)
	}
	return &journey{c: c, task: t, channel: out.Channel, id: id, answer: &a, claim: c.records.claimOf(id, t.Run, &a)}, nil
}

func unreadable(err error) error {
	return &contracts.Error{Code: contracts.CodeDead, Message: "the answer cannot be read", Err: err}
}

// elsewhere is the verdict on a step that failed: another run has the conversation,
// or Redis did not answer. The mailbox finds out which holder is the right one.
func elsewhere(err error) error {
	if errors.Is(err, errFenced) {
		return &contracts.Error{Code: contracts.CodeInternal, Message: "another worker took over", Retryable: true, Err: err}
	}
	return err
}

// Fail is the outcome of an answer that was not, or not certainly, delivered.
func (c *Courier) Fail(t mailbox.Task, why *contracts.Error) mailbox.Outcome {
	out, ok := t.Letter.(*contracts.Outgoing)
	if !ok || t.Raw {
		c.o.Metrics.ended("", OutcomeFailed)
		return mailbox.Outcome{}
	}
	outcome, status := OutcomeFailed, contracts.DeliveryFailed
	switch why.Code {
	case contracts.CodeStale:
		outcome = OutcomeStale
	case contracts.CodeUncertain:
		outcome, status = OutcomeUncertain, contracts.DeliveryUncertain
	}
	c.o.Metrics.ended(out.Channel, outcome)
	id, err := contracts.ParseID(out.ID)
	if err != nil {
		return mailbox.Outcome{}
	}
	ctx, cancel := context.WithTimeout(context.Background(), markWait)
	defer cancel()
	if err := c.records.finish(ctx, c.records.claimOf(id, t.Run, nil), tried{status: status}); err != nil {
		c.o.Log.Warn().Err(err).Str("message_id", t.ID).Msg("end of the delivery not recorded")
	}
	return mailbox.Outcome{}
}

// markWait is how long Fail tries to write what the dead letter says as well.
const markWait = 2 * time.Second

// Reply has nobody to tell: who waits for the answer got it from the commit.
func (c *Courier) Reply(context.Context, mailbox.Task, mailbox.Outcome) {}

func (c *Courier) crash(point string) {
	if c.o.Crash != nil {
		c.o.Crash(point)
	}
}

// panicked is a sender that broke down. It counts as an attempt, as any run that
// panics does.
type panicked struct{ err error }

func (p *panicked) Error() string { return p.err.Error() }

// send makes one call. It ends by its own time limits: a call that is cut off may
// have arrived, so neither a shutdown nor a lost lease ends it.
func (c *Courier) send(ctx context.Context, s Sender, a *contracts.Answer, p Part) (receipt string, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.o.SendTimeout)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			err = &panicked{fmt.Errorf("sender panicked: %v", r)}
		}
	}()
	return s.Send(ctx, a, p)
}
