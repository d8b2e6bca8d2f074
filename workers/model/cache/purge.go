package cache

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
)

// Purge makes every process forget the answers of a model, or of all where name
// is empty. Nothing is looked for or deleted: what was kept gets a digest that
// nobody asks for any more, within Options.Watch, and runs out by itself.
func Purge(ctx context.Context, rdb redis.Scripter, name string) error {
	// A word that was never there before: a count could begin again when the key
	// has run out, and meet what a process still has in memory.
	err := redis.NewScript(purgeLua).Run(ctx, rdb, []string{contracts.KeyPurge()}, name, rand.Text(), purgeTTL.Milliseconds()).Err()
	if err != nil {
		return &contracts.Error{
			Code: contracts.CodeStoreDown, Message: "Redis does not answer, nothing was purged", Retryable: true,
			RetryAfter: time.Second, Err: fmt.Errorf("purge cache: %w", err),
		}
	}
	return nil
}

// purgeTTL is longer than any answer lives: when the words are gone, so is all
// that was kept before them. The configuration takes no longer TTL than a day.
const purgeTTL = 48 * time.Hour

// purges knows the words of the last purges, as young as Options.Watch.
type purges struct {
	o      Options
	remote *remote

	mu    sync.Mutex
	words map[string]*word
}

// word is what one model's keys contain.
type word struct {
	mu   sync.Mutex
	text string
	read time.Time
}

// mostWords bounds the names that are remembered: tables come and go.
const mostWords = 1024

// word gives the words of all models and of name. Whoever finds them old reads
// them; the others wait for it. ok is false without Redis.
func (p *purges) word(ctx context.Context, name string) (text string, ok bool) {
	w := p.of(name)
	w.mu.Lock()
	defer w.mu.Unlock()
	now := p.o.Now()
	if !w.read.IsZero() && now.Sub(w.read) < p.o.Watch {
		return w.text, true
	}
	if !p.remote.up() {
		return "", false
	}
	v, err := p.o.Redis.HMGet(ctx, contracts.KeyPurge(), "", name).Result()
	if err != nil {
		if ctx.Err() == nil {
			p.remote.failed(err)
		}
		return "", false
	}
	w.text, w.read = fmt.Sprintf("%q", v), now
	return w.text, true
}

func (p *purges) of(name string) *word {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.words[name]
	if w == nil {
		if len(p.words) >= mostWords {
			clear(p.words)
		}
		w = &word{}
		p.words[name] = w
	}
	return w
}
