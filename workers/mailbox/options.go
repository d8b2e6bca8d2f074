package mailbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"moltbot/contracts"
)

// Options of a Mailbox. All are required unless a default is named.
type Options struct {
	Conn   *nats.Conn
	Redis  redis.UniversalClient
	Runner Runner
	Log    zerolog.Logger

	Stream string // the stream that is the mailbox
	Role   string // names the dead-letter subject
	// Keys are the Redis keys of a conversation.
	Keys func(conversation string) contracts.BoxKeys
	// Identify reads a message's id from its bytes, and gives what it made of
	// them to the Runner as Task.Letter.
	Identify func(data []byte) (id string, letter any, err error)
	Sealer   contracts.Sealer
	// Alone says that the broker lives and dies with this process, and that every
	// delivery is shown to Note. Heads are then mostly known without asking.
	Alone bool
	// Urge is called when a conversation has many finished messages in the stream;
	// may be nil.
	Urge func()
	// Look is what is known of the stream at the moment.
	Look func() View

	Window    int // context entries that begin brings; 0: none
	KeepTurns int // context entries kept; default 200
	KeepBytes int // of context entries kept, but the newest always; default 1 MiB
	// Memory is the room for what Runners remember of contexts, in bytes;
	// default 32 MiB, negative: none.
	Memory int

	Lease       time.Duration // default 15s; renewed every third of it
	AckWait     time.Duration // of the consumer; default 30s
	Beat        time.Duration // sign of life of a running message; default a third of AckWait, and no more
	BusyDelay   time.Duration // default 1s, doubled per delivery up to Lease
	CallTimeout time.Duration // of one Redis or NATS call; default 5s
	MaxAttempts int           // default 5; then the message is dead-lettered
	RetryBase   time.Duration // first back-off; default 1s
	RetryMax    time.Duration // longest back-off; default 1m
	RetryFor    time.Duration // total time of retries; default 30m
	// Backoff is the wait before the next run of a message that has failed so often;
	// nil: RetryBase doubled up to RetryMax, with jitter, and what the error asks for.
	// failed false: it only waits for its turn, which is neither counted nor logged.
	Backoff func(failures int, cause error) (wait time.Duration, failed bool)
	MaxKept int // finished messages of a conversation left in the stream; default 16

	ContextTTL time.Duration // default 30m
	MaxAge     time.Duration // of a context, from its first entry; default: any
	BoxTTL     time.Duration // default 24h
	DoneTTL    time.Duration // default 24h
	ResultTTL  time.Duration // default 1h

	// Committed is told of each message whose commit added to the context, and how
	// many entries it has now; may be nil. It must not block.
	Committed func(t Task, o Outcome, entries int)
	// Unstoppable says of a message, by its letter, that no stop reaches it; nil: each
	// can be stopped.
	Unstoppable func(letter any) bool
	// Busy is told of each delivery whose conversation somebody has, and of the life
	// of the stream that its sequence counts in. free says that nobody has the
	// conversation any more. May be nil.
	Busy func(ctx context.Context, t Task, life int64) (free bool)
	// Watch is told what happens, for metrics and traces; its zero value hears nothing.
	Watch Watch

	node string

	// Crash, in tests, is called at the named points.
	Crash func(point string)
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

func setDefaults(o *Options) {
	durations := []struct {
		d    *time.Duration
		want time.Duration
	}{
		{&o.Lease, 15 * time.Second}, {&o.AckWait, 30 * time.Second}, {&o.BusyDelay, time.Second},
		{&o.CallTimeout, 5 * time.Second}, {&o.RetryBase, time.Second}, {&o.RetryMax, time.Minute},
		{&o.RetryFor, 30 * time.Minute}, {&o.ContextTTL, 30 * time.Minute}, {&o.BoxTTL, 24 * time.Hour},
		{&o.DoneTTL, 24 * time.Hour}, {&o.ResultTTL, time.Hour},
	}
	for _, d := range durations {
		if *d.d == 0 {
			*d.d = d.want
		}
	}
	numbers := []struct {
		n    *int
		want int
	}{{&o.KeepTurns, 200}, {&o.KeepBytes, 1 << 20}, {&o.MaxAttempts, 5}, {&o.MaxKept, 16}, {&o.Memory, 32 << 20}}
	for _, n := range numbers {
		if *n.n == 0 {
			*n.n = n.want
		}
	}
	if o.Beat == 0 {
		o.Beat = o.AckWait / 3
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

func (o *Options) check() error {
	var errs []error
	need := map[string]bool{
		"Conn": o.Conn != nil, "Redis": o.Redis != nil, "Runner": o.Runner != nil, "Stream": o.Stream != "",
		"Role": o.Role != "", "Keys": o.Keys != nil, "Identify": o.Identify != nil, "Sealer": o.Sealer != nil,
		"Look": o.Look != nil,
	}
	for name, given := range need {
		if !given {
			errs = append(errs, fmt.Errorf("%s is required", name))
		}
	}
	if o.Beat*3 > o.AckWait {
		errs = append(errs, fmt.Errorf("beat (%s) must be at most a third of ack wait (%s)", o.Beat, o.AckWait))
	}
	if o.RetryMax < o.RetryBase {
		errs = append(errs, fmt.Errorf("retry max (%s) is below retry base (%s)", o.RetryMax, o.RetryBase))
	}
	return errors.Join(errs...)
}

func (o *Options) firstSeq() uint64 { return o.Look().FirstSeq }
