package usage

import (
	"context"
	"time"

	"moltbot/contracts"
	"moltbot/workers/model"
)

// Around counts the calls of inner: one upstream's of the model called name in
// the table; for a model that the table does not have, of the one that lets it
// through, so that no caller makes up a label or a row. It goes inside of all that
// tries again and falls back. The nil *Book counts nothing.
func (b *Book) Around(inner model.Completer, provider, name string, e contracts.ModelEntry) model.Completer {
	if b == nil {
		return inner
	}
	return &metered{book: b, inner: inner, provider: provider, name: name, entry: e, metrics: b.metrics.of(provider, name)}
}

// Spared counts an answer that cost no call.
func (b *Book) Spared(caller, name string) {
	if b != nil {
		b.add(used{cell: cell{caller, name}, counts: counts{cached: 1}})
	}
}

// metered is an upstream with the book around it.
type metered struct {
	book           *Book
	inner          model.Completer
	provider, name string
	entry          contracts.ModelEntry
	metrics        *modelMetrics
}

// Complete asks and counts, also what was paid for without an answer: who leaves
// before the end has used a budget all the same. The answer says what it cost.
func (m *metered) Complete(ctx context.Context, r model.Request) (model.Answer, error) {
	began, first := m.book.o.Now(), time.Duration(0)
	if r.OnDelta != nil || m.book.o.Streams(m.provider) {
		r.OnDelta = m.timed(r.OnDelta, began, &first)
	}
	a, err := m.inner.Complete(ctx, r)
	m.metrics.called(m.book.o.Now().Sub(began), first)
	if err != nil && a.Usage == (contracts.Usage{}) {
		return a, err
	}
	a.Cost, a.FirstToken = cost(a.Usage, m.entry), first
	m.metrics.spent(a.Usage, a.Cost)
	m.book.add(used{
		cell: cell{r.Caller, m.name}, provider: m.provider,
		counts: counts{calls: 1, prompt: int64(a.Usage.PromptTokens), completion: int64(a.Usage.CompletionTokens), nanos: nanos(a.Cost)},
	})
	return a, err
}

// timed takes the time of the first piece.
func (m *metered) timed(read func(string), began time.Time, first *time.Duration) func(string) {
	return func(piece string) {
		if *first == 0 {
			*first = max(1, m.book.o.Now().Sub(began))
		}
		if read != nil {
			read(piece)
		}
	}
}
