package bench

import (
	"context"
	"fmt"
	"time"

	"moltbot/ops/bench/report"
)

// Scenarios.
const (
	Health  = "health"  // POST /api/health
	Floor   = "floor"   // the bare pipeline
	Chat    = "chat"    // POST /api/chat, demo model
	OpenAI  = "openai"  // POST /v1/chat/completions, demo model
	Cache   = "cache"   // POST /api/chat, the same question in ever new sessions
	Fresh   = "fresh"   // POST /api/chat, a new session each time
	Context = "context" // POST /api/chat, in sessions of twenty turns
	Waiting = "waiting" // many requests that wait for a slow model
	Scale   = "scale"   // throughput of 2, 4 and 8 worker processes
	Stream  = "stream"  // clients that read answers while a slow model makes them
	Idle    = "idle"    // no load
	// Strangers is chat beside somebody who asks for made-up ids.
	Strangers = "strangers"
	Webhook   = "webhook" // callbacks of IM platforms, answered to stand-ins of them

	against = "against" // a server that the user names
)

// Names lists the scenarios.
func Names() []string {
	return []string{Health, Floor, Chat, OpenAI, Cache, Fresh, Context, Waiting, Scale, Stream, Strangers, Webhook, Idle}
}

const (
	startWait      = 30 * time.Second
	requestTimeout = 30 * time.Second
)

// measure makes one turn.
func (b *bench) measure(ctx context.Context, t turn) ([]report.Row, error) {
	switch t.Scenario {
	case Waiting:
		return b.waiting(ctx, t)
	case Scale:
		return b.scale(ctx, t)
	case Stream:
		return b.streams(ctx, t)
	case Strangers:
		return b.strangers(ctx, t)
	case Webhook:
		return b.webhook(ctx, t)
	case Idle:
		return b.idle(ctx, t)
	}
	s, err := b.stand(ctx, t)
	if err != nil {
		return nil, err
	}
	rows, err := b.load(ctx, t, s)
	return rows, s.close(err)
}

// stand starts what the load goes to.
func (b *bench) stand(ctx context.Context, t turn) (*stand, error) {
	switch t.Scenario {
	case Health:
		return b.up(ctx, t, healthTarget{})
	case Chat:
		return b.up(ctx, t, &chatTarget{sessions: sessions(t.Callers)})
	case OpenAI:
		return b.up(ctx, t, &completionTarget{})
	case Cache:
		return b.up(ctx, t, &cacheTarget{}, "cache: {demo: true}")
	case Fresh:
		return b.up(ctx, t, &freshTarget{}, longContext)
	case Context:
		return b.up(ctx, t, &chatTarget{sessions: contextSessions}, longContext)
	case Floor:
		return b.floor(ctx, t)
	case against:
		return b.foreign()
	}
	return nil, fmt.Errorf("there is no scenario %q", t.Scenario)
}

// longContext lets twenty turns into the prompt, and keeps no more. The sessions
// are so few that the warm-up fills them.
const (
	longContext     = "session: {rounds: 20, tokens: 100000, keep_rounds: 20}"
	contextSessions = 300
)

// sessions is how many conversations take turns: so many that a caller hardly
// ever meets one that is still busy.
func sessions(callers int) uint64 { return uint64(max(1000, 2*callers)) }
