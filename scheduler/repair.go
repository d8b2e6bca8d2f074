package scheduler

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"moltbot/contracts"
)

// A running task has an id in its queue's list "active" and a lease that its
// server renews; one whose lease ran out is found by asynq's recoverer. One
// without any lease (Redis refused the write, or evicted the key) is found by
// nobody: the recoverer looks only at leases, the server renews none that is
// missing and cannot finish the task either, and its id blocks the next one.
//
// The cure is to give it a lease: whoever still runs it renews that, and after
// the death of whoever did it runs out as any other. So nothing need be guessed,
// and no run is doubled.

// leaseTime is that of asynq.
const leaseTime = 30 * time.Second

// stateArchived is a task that was given up.
const stateArchived = "archived"

//go:embed lua/lease.lua
var leaseLua string

//go:embed lua/state.lua
var stateLua string

// Scripts gives the name of each Lua script by the hash under which Redis is
// asked to run it, for metrics.
func Scripts() map[string]string {
	return map[string]string{
		redis.NewScript(leaseLua).Hash(): "task_lease", redis.NewScript(stateLua).Hash(): "task_state",
	}
}

type repairer struct {
	rdb   redis.UniversalClient
	every time.Duration
	lease time.Duration
	now   func() time.Time
	log   zerolog.Logger
}

func (r *repairer) run(ctx context.Context) {
	tick := time.NewTicker(r.every)
	defer tick.Stop()
	for {
		r.announce(ctx)
		for queue := range queues() {
			r.look(ctx, queue)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// announce lists the queues for operators and metrics. asynq's clients do so once
// in their life, which a store that came back empty does not know.
func (r *repairer) announce(ctx context.Context) {
	if err := r.rdb.SAdd(ctx, keyQueues, contracts.QueueChores, contracts.QueueNightly).Err(); err != nil && ctx.Err() == nil {
		r.log.Warn().Err(err).Msg("the queues could not be listed")
	}
}

func (r *repairer) look(ctx context.Context, queue string) {
	// asynq names a queue once in a process' life: after Redis was emptied, nobody
	// who looks at the queues would find it.
	if err := r.rdb.SAdd(ctx, keyQueues, queue).Err(); err != nil && ctx.Err() == nil {
		r.log.Warn().Err(err).Str("queue", queue).Msg("a queue could not be named")
	}
	ids, err := leaseAnew(ctx, r.rdb, queue, r.now().Add(r.lease))
	if err != nil && ctx.Err() == nil {
		r.log.Warn().Err(err).Str("queue", queue).Msg("running tasks could not be looked through")
	}
	for _, id := range ids {
		r.log.Warn().Str("task", id).Str("queue", queue).Msg("a running task had no lease, it has one again")
	}
}

// leaseAnew gives every running task of queue that has no lease one until then.
func leaseAnew(ctx context.Context, rdb redis.UniversalClient, queue string, until time.Time) ([]string, error) {
	keys := []string{keyActive(queue), keyLease(queue)}
	ids, err := redis.NewScript(leaseLua).Run(ctx, rdb, keys, until.Unix()).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("give leases: %w", err)
	}
	return ids, nil
}

// stateOf gives the state of a task; empty: there is none. One that is said to
// run, but is in no list, lost its lease and then its place when its run ended:
// it is put back there with a lease until then, to be run again.
func stateOf(ctx context.Context, rdb redis.UniversalClient, queue, id string, until time.Time) (string, error) {
	keys := []string{keyTask(queue, id), keyActive(queue), keyLease(queue)}
	state, err := redis.NewScript(stateLua).Run(ctx, rdb, keys, id, until.Unix()).Text()
	if err != nil {
		return "", fmt.Errorf("ask for the state of a task: %w", err)
	}
	return state, nil
}

// Keys of asynq.
const keyQueues = "asynq:queues"

func keyQueue(queue string) string    { return "asynq:{" + queue + "}:" }
func keyActive(queue string) string   { return keyQueue(queue) + "active" }
func keyLease(queue string) string    { return keyQueue(queue) + "lease" }
func keyTask(queue, id string) string { return keyQueue(queue) + "t:" + id }
