package app

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/workers/session"
)

const (
	resealAgain = 2 * time.Second // before the processes are asked again whether they follow
	resealAfter = 5 * time.Second // after a failure, or while another process does it
)

func (a *App) resealer() *session.Resealer {
	return session.NewResealer(session.ResealerOptions{Redis: a.rdb, Sealer: a.keys.Sealer(), Keys: a.keys, Node: a.node})
}

// keepSealed seals Redis anew after another key became the primary one, as soon
// as all processes seal with it. All processes with workers look, and the
// lease lets one of them do it. At the start, too: the one that was at it may be gone.
func (a *App) keepSealed(ctx, working context.Context) error {
	select {
	case <-a.prepared:
	case <-ctx.Done():
		return nil
	}
	if _, all, _ := a.keys.Keys(); len(all) > 1 {
		a.wantSealed()
	}
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	again.Stop()
	asked, told := false, ""
	for {
		select {
		case <-working.Done():
			return nil
		case <-a.rotation.due:
		case <-again.C:
		}
		asked = a.rotation.asked.Swap(false) || asked
		wait, err := a.sealAgain(working, asked)
		if text := errorText(err); text != told && working.Err() == nil { // once per reason
			if told = text; err != nil {
				a.o.Log.Warn().Err(err).Msg("Redis cannot be sealed anew at the moment")
			}
		}
		if asked = asked && wait > 0; wait > 0 {
			again.Reset(wait)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// sealAgain runs a pass if one is due, and gives the wait before another look; 0: none is needed.
func (a *App) sealAgain(ctx context.Context, asked bool) (wait time.Duration, err error) {
	if !asked && !a.has(RoleWorkers) {
		return 0, nil
	}
	r := a.resealer()
	key := a.keys.Primary()
	if s, err := r.State(ctx); !asked && err == nil && s.Covers(key) {
		return 0, nil
	}
	all, err := callKeys(ctx, a.topology.js.Conn())
	if err != nil {
		return resealAfter, err
	}
	for _, p := range all {
		if p.Primary != key {
			return resealAgain, nil // it would go on sealing with the other one
		}
	}
	a.o.Log.Debug().Uint32("key", key).Int("processes", len(all)).Msg("sealing Redis anew, unless another process is at it")
	done, err := r.Run(ctx)
	if errors.Is(err, session.ErrResealing) {
		return resealAfter, nil
	}
	if err != nil {
		return resealAfter, err
	}
	level := zerolog.InfoLevel
	if done.Bad > 0 {
		level = zerolog.WarnLevel // and an operator has to look
	}
	a.o.Log.WithLevel(level).Uint32("key", key).Int64("keys", done.Keys).Int64("sealed", done.Sealed).Int64("bad", done.Bad).
		Dur("took_ms", done.At.Sub(done.Began)).Msg("Redis is sealed anew")
	return 0, nil
}

// resealNow is POST /admin/keys/reseal.
func (a *App) resealNow(ctx context.Context, by string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	all, err := callKeys(ctx, a.topology.js.Conn())
	if err != nil {
		return queueDown(err)
	}
	key := a.keys.Primary()
	for _, p := range all {
		if p.Primary != key {
			return &contracts.Error{Code: contracts.CodeConflict, Message: "not every process seals with the primary key yet; see moltbot key list"}
		}
	}
	a.o.Log.Info().Str("user_id", by).Uint32("key", key).Msg("an operator has Redis sealed anew")
	a.rotation.asked.Store(true)
	a.wantSealed()
	return nil
}
