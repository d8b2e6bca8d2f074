package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
)

// prepareAgain is how long to wait before a dependency is asked again at start.
const prepareAgain = 500 * time.Millisecond

// prepare checks the dependencies and makes the streams, as often as it takes:
// containers start in any order. What waiting does not mend ends the process.
func (a *App) prepare(ctx context.Context) error {
	for told := ""; ; {
		err := a.prepareOnce(ctx)
		var no refusal
		switch {
		case err == nil:
			close(a.prepared)
			return nil
		case errors.As(err, &no):
			return err
		case ctx.Err() != nil:
			return nil
		}
		if text := err.Error(); text != told { // once per reason, not per try
			told = text
			a.o.Log.Warn().Err(err).Msg("waiting for a dependency")
		}
		t := time.NewTimer(prepareAgain)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
	}
}

func (a *App) prepareOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := checkSync(ctx, a.o.Config); err != nil {
		return err
	}
	if err := a.topology.ensure(ctx); err != nil {
		return err
	}
	if err := a.prepareModels(ctx); err != nil {
		return err
	}
	if err := a.rdb.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	if a.redis != nil {
		return nil // started with the right settings
	}
	warning, err := checkRedis(ctx, a.rdb, a.o.Config.Durability)
	if err == nil && warning != "" {
		a.o.Log.Warn().Msg(warning)
	}
	return err
}

// prepareModels puts the table of the configuration into the bucket, if it
// belongs there, and takes what is there before any message is answered.
func (a *App) prepareModels(ctx context.Context) error {
	if a.workers != nil { // others know no providers
		why := atStart
		if a.nats != nil {
			why = atStartUp
		}
		err := a.topology.importModels(ctx, a.models.configured(), why)
		if err != nil && !errors.Is(err, errUnreadable) { // which take is going to say
			return err
		}
	}
	kv, err := a.topology.bucket(ctx)
	if err != nil {
		return fmt.Errorf("find the bucket: %w", err)
	}
	e, err := kv.Get(ctx, contracts.KeyModels)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", contracts.KeyModels, err)
	}
	a.models.take(entry{value: e.Value(), revision: int64(e.Revision())})
	return nil
}

// checks are what /readyz asks. Their texts are public.
func (a *App) checks(queue func() bool) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"nats": func(ctx context.Context) error {
			if !queue() {
				return &contracts.Error{Code: contracts.CodeQueueDown, Message: "not connected"}
			}
			if _, err := a.topology.js.Stream(ctx, contracts.StreamChat); err != nil {
				return &contracts.Error{Code: contracts.CodeQueueDown, Message: "the queue does not answer", Err: err}
			}
			return nil
		},
		"redis": func(ctx context.Context) error {
			if err := a.rdb.Ping(ctx).Err(); err != nil {
				return &contracts.Error{Code: contracts.CodeStoreDown, Message: "does not answer", Err: err}
			}
			return nil
		},
		"start": func(context.Context) error {
			select {
			case <-a.prepared:
				return nil
			default:
				return &contracts.Error{Code: contracts.CodeQueueDown, Message: "waiting for the queue and the store"}
			}
		},
	}
}
