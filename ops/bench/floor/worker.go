package floor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
)

// worker is the other end: context, answer, reply, acknowledge.
type worker struct {
	conn *nats.Conn
	rdb  *redis.Client
	pull jetstream.Consumer
	free chan struct{} // holds one for each message that is worked on
}

const (
	window     = 10 // entries of context
	sessionTTL = 30 * time.Minute
	fetchWait  = time.Second
)

// run pulls as many messages as there are free slots.
func (w *worker) run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for ctx.Err() == nil {
		slots := w.acquire(ctx)
		if slots == 0 {
			return nil
		}
		batch, err := w.pull.Fetch(slots, jetstream.FetchMaxWait(fetchWait))
		if err != nil {
			return fmt.Errorf("floor: fetch: %w", err)
		}
		for m := range batch.Messages() {
			slots--
			running.Go(func() {
				defer func() { <-w.free }()
				w.handle(context.WithoutCancel(ctx), m)
			})
		}
		for range slots {
			<-w.free
		}
		if err := batch.Error(); err != nil && !errors.Is(err, nats.ErrTimeout) && ctx.Err() == nil {
			return fmt.Errorf("floor: fetch: %w", err)
		}
	}
	return nil
}

// acquire waits for one slot and takes what else is free.
func (w *worker) acquire(ctx context.Context) (slots int) {
	select {
	case w.free <- struct{}{}:
	case <-ctx.Done():
		return 0
	}
	for slots = 1; ; slots++ {
		select {
		case w.free <- struct{}{}:
		default:
			return slots
		}
	}
}

// handle has nobody to tell what failed: the request times out, which the load
// counts.
func (w *worker) handle(ctx context.Context, d jetstream.Msg) {
	var m message
	if json.Unmarshal(d.Data(), &m) != nil {
		_ = d.Term()
		return
	}
	key := "floor:" + m.Session
	past, err := w.rdb.LRange(ctx, key, -window, -1).Result()
	if err != nil {
		return
	}
	now, said := time.Now(), answer(m.Text, past)
	reply, err := json.Marshal(contracts.ChatReply{ // as long as the product's
		ID: m.ID, SessionID: m.Session, Status: contracts.StatusDone, Reply: said, Model: "floor",
		ModelVersion: "floor/floor", FinishReason: "stop", Usage: &contracts.Usage{PromptTokens: 100, CompletionTokens: 100}, AnsweredAt: &now,
	})
	if err != nil {
		return
	}
	_, err = w.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.RPush(ctx, key, m.Text, said)
		p.LTrim(ctx, key, -2*window, -1)
		p.Expire(ctx, key, sessionTTL)
		return nil
	})
	if err != nil {
		return
	}
	_ = w.conn.Publish(m.ReplyTo, reply) // a lost one is a time-out of the request
	_ = d.Ack()                          // a lost one is a redelivery
}

// answer is as long as that of the product's demo model, and quotes the message
// in the same place.
func answer(text string, past []string) string {
	const form = "This is the floor: no model and no promise is here. You wrote: %q. Before it came %d messages: your first was %q, your previous one %q."
	first, last := text, text
	if len(past) > 1 {
		first, last = past[0], past[len(past)-2]
	}
	return fmt.Sprintf(form, text, len(past), first, last)
}
