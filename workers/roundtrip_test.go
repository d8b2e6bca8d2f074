package workers

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"moltbot/workers/model"
	"moltbot/workers/workerstest"
)

// trips counts the Redis commands that touch a conversation.
type trips struct{ n atomic.Int64 }

func (c *trips) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if strings.Contains(fmt.Sprint(cmd.Args()...), "{") && cmd.Name() != "eval" {
			c.n.Add(1)
		}
		return next(ctx, cmd)
	}
}

func (c *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// A message costs two round trips to Redis: begin and commit.
func TestRoundTripsOfAMessage(t *testing.T) {
	p := newPlant(t)
	count := &trips{}
	p.rdb.AddHook(count)
	p.start(p.options(model.Demo{}))
	inbox, got := p.inbox("one")
	// Before the first one Redis does not know the scripts.
	p.publish(p.message("warm", 0, "text", inbox))
	workerstest.Await(t, "the reply", got)
	workerstest.Eventually(t, "settled", p.settled)
	before := count.n.Load()
	const messages = 30
	for n := range messages {
		p.publish(p.message("s"+strconv.Itoa(n%3), n+1, "text", inbox))
		if r := p.result(workerstest.Await(t, "the reply", got)); r.Code != "" {
			t.Errorf("%+v", r)
		}
	}
	if n := count.n.Load() - before; n != 2*messages {
		t.Errorf("%d round trips for %d messages", n, messages)
	}
}
