package app

import (
	"context"
	"testing"

	"github.com/rs/zerolog"

	"moltbot/ops/config"
	"moltbot/workers/model"
	"moltbot/workers/workerstest"
)

// peeking is a model that looks around while it is called.
type peeking func()

func (p peeking) Complete(context.Context, model.Request) (model.Answer, error) {
	p()
	return model.Answer{Text: "x"}, nil
}

func TestModelIsCappedOnlyWhenAsked(t *testing.T) {
	rdb := workerstest.MiniRedis(t)
	a := &App{o: Options{Config: config.Default(), Log: zerolog.Nop()}, node: "n1", rdb: rdb}
	inner := peeking(func() {
		keys, err := rdb.Keys(t.Context(), "cap:*").Result()
		must(t, err)
		equal(t, "permits in Redis", len(keys), a.o.Config.Model.MaxConcurrent)
	})
	for _, limit := range []int{0, 1} {
		a.o.Config.Model.MaxConcurrent = limit
		c, err := a.capModel(inner)
		must(t, err)
		_, capped := c.(*model.Capped)
		equal(t, "capped", capped, limit > 0)
		_, err = c.Complete(t.Context(), model.Request{})
		must(t, err)
		must(t, a.close())
	}
}
