package mailbox

import (
	"math"

	"github.com/maypok86/otter/v2"
)

// memory keeps what a Runner made of a conversation's context, so that the next
// message need not fetch and open it again. It decides nothing: begin and claim
// compare the version with that of the context in Redis, and send the context
// where it is another one.
type memory struct {
	cache *otter.Cache[string, recollection] // nil: remembers nothing
}

// recollection is what the Runner gave with the commit that made version.
type recollection struct {
	version string
	value   any
	size    int
}

func newMemory(bytes int) (*memory, error) {
	if bytes <= 0 {
		return &memory{}, nil
	}
	cache, err := otter.New(&otter.Options[string, recollection]{
		MaximumWeight: uint64(bytes),
		Weigher: func(conversation string, r recollection) uint32 {
			return uint32(min(len(conversation)+len(r.version)+r.size, math.MaxUint32))
		},
	})
	return &memory{cache: cache}, err
}

func (m *memory) of(conversation string) recollection {
	if m.cache == nil {
		return recollection{}
	}
	r, _ := m.cache.GetIfPresent(conversation)
	return r
}

// keep remembers o under the version that its commit made. Without a version
// the commit left the context as it was.
func (m *memory) keep(conversation, version string, o Outcome) {
	if m.cache == nil || version == "" || o.Memory == nil {
		return
	}
	m.cache.Set(conversation, recollection{version: version, value: o.Memory, size: o.MemorySize})
}
