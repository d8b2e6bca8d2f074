// Package usage counts what calls of models cost, by caller, model and day, and
// what is left of a provider's quota. It is never in the way of an answer: what
// cannot be written is kept and written later, and refusing is for others.
package usage

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"moltbot/contracts"
)

// Namer makes keyed digests.
type Namer interface {
	Digest(purpose string, parts ...string) string
}

// Options of a Book. What has no default is required.
type Options struct {
	Redis  redis.Scripter
	Sealer contracts.Sealer
	Namer  Namer
	Log    zerolog.Logger
	Node   string // unique among all processes

	// Quotas are tokens a day, by provider. Default: none.
	Quotas map[string]int64
	// Streams tells whether a provider streams whoever reads along, so that the
	// time to its first token can be taken. Default: none does.
	Streams func(provider string) bool

	Flush time.Duration // longest time that a count is in this process alone; default 1s
	Keep  time.Duration // of a day's counts; default 40 days
	Most  int           // callers and models that are counted while Redis is away; default 50000

	// Metrics takes the metrics; nil: nobody reads them.
	Metrics prometheus.Registerer
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

func (o *Options) fill() error {
	o.Flush, o.Keep, o.Most = cmp.Or(o.Flush, time.Second), cmp.Or(o.Keep, 40*24*time.Hour), cmp.Or(o.Most, 50_000)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Streams == nil {
		o.Streams = func(string) bool { return false }
	}
	if o.Redis == nil || o.Sealer == nil || o.Namer == nil || o.Node == "" {
		return errors.New("a Redis, a sealer, a namer and a node are required")
	}
	return nil
}

// Book counts in memory and writes to Redis a moment later, all counts of that
// moment together. A process that is killed loses the last moment; one that is
// stopped loses nothing. It is safe for concurrent use.
type Book struct {
	o       Options
	script  *redis.Script
	metrics *metrics
	quotas  *quotas

	mu      sync.Mutex
	pending map[string]*page // by day
	cells   int              // in pending
	timer   *time.Timer      // nil: nothing is pending
	closed  bool

	writing sync.Mutex
	number  int64   // of the newest batch
	batches []batch // begun and not confirmed, oldest first
	failing bool    // Redis did not answer the last time
}

// page is what was counted on one day since the last write.
type page struct {
	cells     map[cell]*counts
	providers map[string]int64 // tokens, of those with a quota
}

type cell struct{ caller, model string }

type counts struct{ calls, prompt, completion, nanos, cached int64 }

// New checks o. It asks Redis for nothing before the first count.
func New(o Options) (*Book, error) {
	if err := o.fill(); err != nil {
		return nil, fmt.Errorf("usage options: %w", err)
	}
	b := &Book{o: o, script: redis.NewScript(addLua), pending: make(map[string]*page)}
	b.metrics = newMetrics(o.Metrics)
	b.quotas = newQuotas(o)
	return b, nil
}

// used is what one call cost.
type used struct {
	cell
	provider string
	counts
}

// add counts u on the day that it is.
func (b *Book) add(u used) {
	day := contracts.Day(b.o.Now())
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.page(day)
	if b.o.Quotas[u.provider] > 0 && u.prompt+u.completion > 0 {
		p.providers[u.provider] += u.prompt + u.completion
	}
	sum := p.cells[u.cell]
	if sum == nil {
		if b.cells >= b.o.Most {
			b.metrics.lost.Inc()
			return
		}
		b.cells++
		sum = &counts{}
		p.cells[u.cell] = sum
	}
	sum.calls += u.calls
	sum.prompt += u.prompt
	sum.completion += u.completion
	sum.nanos += u.nanos
	sum.cached += u.cached
	b.arm()
}

func (b *Book) page(day string) *page {
	p := b.pending[day]
	if p == nil {
		p = &page{cells: make(map[cell]*counts), providers: make(map[string]int64)}
		b.pending[day] = p
	}
	return p
}

// arm plans the next write, unless it is planned or all is over.
func (b *Book) arm() {
	if b.timer == nil && !b.closed {
		b.timer = time.AfterFunc(b.o.Flush, b.tick)
	}
}

// tick writes, and comes again as long as something is left.
func (b *Book) tick() {
	err := b.write()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.timer = nil
	if err != nil || b.cells > 0 {
		b.arm()
	}
}

// Close writes what is left. Nothing may be counted any more.
func (b *Book) Close() error {
	b.mu.Lock()
	b.closed = true
	if b.timer != nil {
		b.timer.Stop()
	}
	b.mu.Unlock()
	if err := b.write(); err != nil {
		return fmt.Errorf("the last counts of usage are lost: %w", err)
	}
	return nil
}

// cost of a call, in the operator's currency.
func cost(u contracts.Usage, e contracts.ModelEntry) float64 {
	return (float64(u.PromptTokens)*e.InputPrice + float64(u.CompletionTokens)*e.OutputPrice) / 1e6
}

// nanos is a cost in billionths: sums of whole numbers stay exact. No call costs
// more than what sums can hold, whatever the price list says.
func nanos(cost float64) int64 {
	const most = 1e16
	return int64(math.Round(max(0, min(cost*1e9, most))))
}
