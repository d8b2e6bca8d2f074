package cache

import (
	"time"

	"github.com/maypok86/otter/v2"

	"moltbot/workers/model"
)

// memory is the level in this process. It holds answers in the clear, as the
// process did when it made them.
type memory struct {
	kept *otter.Cache[string, *entry]
	now  func() time.Time
}

type entry struct {
	answer model.Answer
	until  time.Time
}

// entrySize is what an answer takes beside its texts, roughly.
const entrySize = 400

func newMemory(o Options) (memory, error) {
	kept, err := otter.New(&otter.Options[string, *entry]{
		MaximumWeight:    uint64(o.Memory),
		Weigher:          func(key string, e *entry) uint32 { return uint32(len(key) + answerSize(&e.answer)) },
		ExpiryCalculator: otter.ExpiryWriting[string, *entry](longest(o.TTL)),
	})
	return memory{kept, o.Now}, err
}

func answerSize(a *model.Answer) int {
	n := entrySize + len(a.Text) + len(a.Model) + len(a.Version)
	for _, c := range a.ToolCalls {
		n += len(c.ID) + len(c.Name) + len(c.Arguments)
	}
	return n
}

// find gives a copy; nothing changes the tool calls that all copies share.
func (m memory) find(key string) (model.Answer, bool) {
	e, ok := m.kept.GetIfPresent(key)
	if !ok || !m.now().Before(e.until) {
		return model.Answer{}, false
	}
	return e.answer, true
}

func (m memory) keep(key string, a model.Answer, life time.Duration) {
	m.kept.Set(key, &entry{a, m.now().Add(life)})
}

func (m memory) size() float64 { return float64(m.kept.WeightedSize()) }

func (m memory) close() {
	m.kept.InvalidateAll()
	m.kept.StopAllGoroutines()
}
