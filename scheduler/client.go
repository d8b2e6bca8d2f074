package scheduler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
)

// MaxPayload is the largest payload of a task. It names what is to be done; what
// is needed for that is read from where it lies.
const MaxPayload = 16 << 10

// mostTries is how many tasks of one name may be given up before no other is made.
const mostTries = 5

// ClientOptions of a Client.
type ClientOptions struct {
	// Redis is not closed by the client. Calls end in time only with
	// ContextTimeoutEnabled.
	Redis     redis.UniversalClient
	Timeout   time.Duration // of one run; default 5m
	Retention time.Duration // how long a finished task is remembered; default 1h
	Retries   int           // runs after the first, at least 1; default 12, which takes about an hour
	Patience  time.Duration // longest wait for Redis; default 2s
}

// Client asks for background tasks. It may be used by many at once.
type Client struct {
	o     ClientOptions
	queue *asynq.Client
	now   func() time.Time
}

// NewClient gives a client. It opens nothing.
func NewClient(o ClientOptions) *Client {
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Minute
	}
	if o.Retention == 0 {
		o.Retention = time.Hour
	}
	if o.Retries == 0 {
		o.Retries = 12
	}
	if o.Patience == 0 {
		o.Patience = 2 * time.Second
	}
	return &Client{o: o, queue: asynq.NewClientFromRedisClient(o.Redis), now: time.Now}
}

// Job is a task to be done. What has no default is required.
type Job struct {
	Type  contracts.TaskType
	Queue string
	// ID names the task: as long as one of the same name is there, also a
	// finished one within its retention, none is added. Try counts on from 1
	// where an earlier one was given up.
	ID      func(try int) string
	Payload []byte // at most MaxPayload; never content of a conversation

	Tries     int           // names to try; default 5
	At        time.Time     // not before; default now
	Timeout   time.Duration // of one run, in whole seconds; default that of the client
	Deadline  time.Time     // no run goes on beyond it; default none
	Retention time.Duration // in whole seconds; default that of the client
	Retries   int           // at least 1; default that of the client
}

// Summarize asks for the turns of a conversation up to one to be folded into its
// summary. To ask again for the same is no error and adds nothing.
func (c *Client) Summarize(ctx context.Context, conversation, upto string) error {
	payload, err := contracts.EncodeSummarize(contracts.Summarize{Conversation: conversation, Upto: upto})
	if err != nil {
		return fmt.Errorf("encode the task: %w", err)
	}
	return c.Enqueue(ctx, Job{
		Type: contracts.TaskSummarize, Queue: contracts.QueueChores, Payload: payload,
		ID: func(try int) string { return contracts.SummarizeID(conversation, upto, try) },
	})
}

// Enqueue stores a task. Nil means that it is stored, now or before, or done
// within its retention.
func (c *Client) Enqueue(ctx context.Context, j Job) error {
	_, err := c.enqueue(ctx, j)
	return err
}

// enqueue also tells whether the task is new.
func (c *Client) enqueue(ctx context.Context, j Job) (added bool, err error) {
	if len(j.Payload) > MaxPayload {
		return false, &contracts.Error{Code: contracts.CodeTooLarge, Message: "the task's payload is too large"}
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.Patience)
	defer cancel()
	tries := j.Tries
	if tries == 0 {
		tries = mostTries
	}
	for try := 1; try <= tries; try++ {
		added, open, err := c.put(ctx, j, j.ID(try))
		if err != nil {
			return false, storeDown(fmt.Errorf("store task: %w", err))
		}
		if !open {
			return added, nil
		}
	}
	return false, &contracts.Error{Code: contracts.CodeDead, Message: "the task was given up; an operator can run it again"}
}

// put adds a task of one name. Open says that there is one, which was given up.
func (c *Client) put(ctx context.Context, j Job, id string) (added, open bool, err error) {
	task := asynq.NewTask(string(j.Type), j.Payload)
	// The one that was in the way may be gone when its state is asked for.
	for range 3 {
		_, err = c.queue.EnqueueContext(ctx, task, c.options(j, id)...)
		if !errors.Is(err, asynq.ErrTaskIDConflict) {
			return err == nil, false, err
		}
		state, err := stateOf(ctx, c.o.Redis, j.Queue, id, c.now().Add(leaseTime))
		if err != nil {
			return false, false, err
		}
		if state != "" {
			return false, state == stateArchived, nil
		}
	}
	return false, false, err
}

func (c *Client) options(j Job, id string) []asynq.Option {
	pick := func(d, otherwise time.Duration) time.Duration {
		if d == 0 {
			d = otherwise
		}
		return max(time.Second, d) // less is nothing to asynq, which means "no limit"
	}
	retries := j.Retries
	if retries == 0 {
		retries = c.o.Retries
	}
	all := []asynq.Option{
		asynq.TaskID(id), asynq.Queue(j.Queue), asynq.Timeout(pick(j.Timeout, c.o.Timeout)),
		asynq.Retention(pick(j.Retention, c.o.Retention)),
		asynq.MaxRetry(max(1, retries)), // with none, a crash in the first run would be its end
	}
	if !j.At.IsZero() {
		all = append(all, asynq.ProcessAt(j.At))
	}
	if !j.Deadline.IsZero() {
		all = append(all, asynq.Deadline(j.Deadline))
	}
	return all
}

func storeDown(err error) error {
	return &contracts.Error{Code: contracts.CodeStoreDown, Message: "the store of the tasks does not answer", Retryable: true, Err: err}
}
