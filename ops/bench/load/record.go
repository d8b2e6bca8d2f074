package load

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// recorder collects what all callers saw. Its histograms are few, because ten
// thousand callers with one each would take the machine's memory.
type recorder struct {
	shards   [shards]shard
	longest  int64
	overflow atomic.Uint64

	mu     sync.Mutex
	faults map[string]uint64
}

type shard struct {
	mu           sync.Mutex
	latency, lag *hdrhistogram.Histogram
	_            [64]byte // a cache line: the next shard's lock is another core's
}

const (
	shards = 16
	digits = 3 // significant ones of a recorded value
)

func newRecorder(timeout time.Duration) *recorder {
	// In an open loop a request can wait for its caller as well as for its answer.
	r := &recorder{longest: (timeout + time.Minute).Microseconds(), faults: map[string]uint64{}}
	for i := range r.shards {
		r.shards[i].latency, r.shards[i].lag = hdrhistogram.New(1, r.longest, digits), hdrhistogram.New(1, r.longest, digits)
	}
	return r
}

func (r *recorder) clamp(d time.Duration) int64 { return max(1, min(d.Microseconds(), r.longest)) }

func (r *recorder) latency(n uint64, d time.Duration) {
	s := &r.shards[n%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.latency.RecordValue(r.clamp(d)) // in range: clamped
}

func (r *recorder) lag(n uint64, d time.Duration) {
	s := &r.shards[n%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.lag.RecordValue(r.clamp(d)) // in range: clamped
}

func (r *recorder) fault(kind string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults[kind]++
}

func (r *recorder) merged() (latency, lag *hdrhistogram.Histogram, faults map[string]uint64) {
	latency, lag = hdrhistogram.New(1, r.longest, digits), hdrhistogram.New(1, r.longest, digits)
	for i := range r.shards {
		latency.Merge(r.shards[i].latency)
		lag.Merge(r.shards[i].lag)
	}
	return latency, lag, r.faults
}
