package ingress

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"moltbot/contracts"
)

// BotNames asks the platform.
type BotNames interface {
	// BotOpenID gives the open_id of the bot of an application.
	BotOpenID(ctx context.Context, app string) (string, error)
}

// BotStore keeps what was learned.
type BotStore interface {
	Get(ctx context.Context, key string) *redis.StringCmd
	Set(ctx context.Context, key string, value any, expiration time.Duration) *redis.StatusCmd
}

// BotOptions of Bots. What has no default is required.
type BotOptions struct {
	Channel contracts.Channel
	// Known has the applications, each with its bot's open_id or, where that is to
	// be asked for, nothing.
	Known map[string]string
	Names BotNames // nil: nobody can be asked
	Store BotStore // nil: nothing is kept
	Log   zerolog.Logger

	Keep    time.Duration // how long an open_id is kept; default 30 days
	Timeout time.Duration // of one call; default 10s
	WaitMin time.Duration // before the second call; doubles; default 2s
	WaitMax time.Duration // default 5m
}

// Bots knows what the bots of one platform's applications are called, without
// which no mention of them is seen.
type Bots struct {
	o  BotOptions
	mu sync.RWMutex
	id map[string]string
}

// NewBots fills in the defaults of o. It asks nobody yet.
func NewBots(o BotOptions) *Bots {
	for _, d := range []struct {
		d    *time.Duration
		want time.Duration
	}{{&o.Keep, 30 * 24 * time.Hour}, {&o.Timeout, 10 * time.Second}, {&o.WaitMin, 2 * time.Second}, {&o.WaitMax, 5 * time.Minute}} {
		if *d.d == 0 {
			*d.d = d.want
		}
	}
	b := &Bots{o: o, id: make(map[string]string, len(o.Known))}
	for app, id := range o.Known {
		b.id[app] = id
	}
	return b
}

// OpenID is what the bot of app is called; empty: it is not known yet.
func (b *Bots) OpenID(app string) string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.id[app]
}

func (b *Bots) set(app, id string) { b.mu.Lock(); b.id[app] = id; b.mu.Unlock() }

func (b *Bots) unknown(channel contracts.Channel, app string) bool {
	_, ours := b.o.Known[app]
	return ours && channel == b.o.Channel && b.OpenID(app) == ""
}

// learn asks for every open_id that the configuration does not say, until all are
// known or ctx ends. Meanwhile what was learned last holds.
func (b *Bots) learn(ctx context.Context) {
	var asking sync.WaitGroup
	for app, id := range b.o.Known {
		if id == "" {
			asking.Go(func() { b.learnOne(ctx, app) })
		}
	}
	asking.Wait()
}

func (b *Bots) learnOne(ctx context.Context, app string) {
	log := b.o.Log.With().Str("channel", string(b.o.Channel)).Str("app", app).Logger()
	b.recall(ctx, app)
	said := false
	for wait := b.o.WaitMin; ; wait = min(2*wait, b.o.WaitMax) {
		if b.OpenID(app) == "" { // Redis may have been away
			b.recall(ctx, app)
		}
		id, err := b.ask(ctx, app)
		if err == nil {
			b.set(app, id)
			b.keep(ctx, app, id)
			return
		}
		if ctx.Err() != nil {
			return
		}
		if !said {
			said = true
			log.Warn().Err(err).Bool("known", b.OpenID(app) != "").
				Msg("the open_id of the bot was not learned, and is asked for again; without one mentions in groups are not seen")
		}
		later := time.NewTimer(wait/2 + rand.N(wait/2+1))
		select {
		case <-later.C:
		case <-ctx.Done():
			later.Stop()
			return
		}
	}
}

var errNobody = errors.New("nobody can be asked")

func (b *Bots) ask(ctx context.Context, app string) (string, error) {
	if b.o.Names == nil {
		return "", errNobody
	}
	ctx, cancel := context.WithTimeout(ctx, b.o.Timeout)
	defer cancel()
	id, err := b.o.Names.BotOpenID(ctx, app)
	if err == nil && id == "" {
		return "", errors.New("the platform gave none")
	}
	return id, err
}

// recall takes what was learned last, so that a start without the platform knows it.
func (b *Bots) recall(ctx context.Context, app string) {
	if b.o.Store == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, b.o.Timeout)
	defer cancel()
	if id, err := b.o.Store.Get(ctx, contracts.KeyBot(b.o.Channel, app)).Result(); err == nil && id != "" {
		b.set(app, id)
	}
}

func (b *Bots) keep(ctx context.Context, app, id string) {
	if b.o.Store == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, b.o.Timeout)
	defer cancel()
	if err := b.o.Store.Set(ctx, contracts.KeyBot(b.o.Channel, app), id, b.o.Keep).Err(); err != nil {
		b.o.Log.Info().Err(err).Str("app", app).Msg("the open_id of the bot was not kept for the next start")
	}
}
