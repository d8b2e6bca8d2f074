package contracts

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Pool names a pool of slots that can be resized while it runs. The set is closed.
type Pool string

// The pools.
const (
	PoolChat    Pool = "chat"    // messages on their way through the model
	PoolDeliver Pool = "deliver" // replies on their way to IM platforms and callback URLs
)

// Pools lists every pool.
func Pools() []Pool { return []Pool{PoolChat, PoolDeliver} }

// Known reports whether p is one of Pools.
func (p Pool) Known() bool { return slices.Contains(Pools(), p) }

// MaxSlots is the most slots that one process may be given.
const MaxSlots = 100_000

// BucketConfig is the key-value bucket of what operators change while moltbot
// runs. It holds no secret.
const BucketConfig = "config"

// KeyPoolSlots is the key, in BucketConfig, of a pool's slots in each process.
// No such key: each process uses its own configuration.
func KeyPoolSlots(p Pool) string { return "pool." + token(string(p)) + ".slots" }

// PoolSlots is the value of KeyPoolSlots.
type PoolSlots struct {
	Version int `json:"v"`
	Slots   int `json:"slots"` // 0 pauses
}

// CheckSlots refuses what no process may be given.
func CheckSlots(n int) error {
	if n < 0 || n > MaxSlots {
		return fmt.Errorf("slots must be 0 (which pauses the pool) to %d", MaxSlots)
	}
	return nil
}

// EncodePoolSlots writes the value of KeyPoolSlots.
func EncodePoolSlots(s PoolSlots) ([]byte, error) { return encode(&s, &s.Version) }

// DecodePoolSlots reads the value of KeyPoolSlots. Anybody who may write to the
// bucket can put anything there, so it takes nothing that EncodePoolSlots does
// not write.
func DecodePoolSlots(b []byte) (PoolSlots, error) {
	var s PoolSlots
	if err := decode(b, &s, &s.Version, "slots"); err != nil {
		return PoolSlots{}, err
	}
	if err := CheckSlots(s.Slots); err != nil {
		return PoolSlots{}, fmt.Errorf("decode slots: %w", err)
	}
	// Unknown, missing and repeated members all show here.
	if written, err := json.Marshal(s); err != nil || !bytes.Equal(b, written) {
		return PoolSlots{}, errors.New("decode slots: not written as moltbot writes them")
	}
	return s, nil
}

// WorkerStatus is what a process with the workers role answers on SubjectWorkersStatus.
type WorkerStatus struct {
	Version int                 `json:"v"`
	Node    string              `json:"node"`
	Host    string              `json:"host"`
	PID     int                 `json:"pid"`
	Build   string              `json:"version"`
	Started time.Time           `json:"started"`
	Pools   map[Pool]PoolStatus `json:"pools"`
	Models  *ModelsStatus       `json:"models,omitempty"` // nil: a version that knows no tables
}

// PoolStatus is one pool of one process.
type PoolStatus struct {
	Slots      int `json:"slots"`      // the limit that holds now
	InUse      int `json:"in_use"`     // may be above Slots while a shrunk pool finishes what runs
	Configured int `json:"configured"` // of the process' own configuration
}

// EncodeWorkerStatus writes an answer on SubjectWorkersStatus.
func EncodeWorkerStatus(s WorkerStatus) ([]byte, error) { return encode(&s, &s.Version) }

// DecodeWorkerStatus reads one.
func DecodeWorkerStatus(b []byte) (s WorkerStatus, err error) {
	if err := decode(b, &s, &s.Version, "worker status"); err != nil {
		return s, err
	}
	if s.Node == "" {
		return s, errors.New("worker status without a node")
	}
	return s, nil
}

// AdminWorkers is the answer of GET /admin/workers.
type AdminWorkers struct {
	Workers []WorkerStatus `json:"workers"` // who answered in time, by host and process id
	// Wanted are the slots that operators asked for; a pool that is missing
	// follows each process' configuration.
	Wanted map[Pool]int `json:"wanted"`
	Queue  QueueStatus  `json:"queue"`
}

// PoolRequest is the body of PUT /admin/pools/{pool}: one of the two.
type PoolRequest struct {
	Slots   *int `json:"slots,omitempty"`
	Default bool `json:"default,omitempty"` // back to each process' configuration
}

// PoolReply is its answer.
type PoolReply struct {
	Pool  Pool `json:"pool"`
	Slots *int `json:"slots"` // null: each process' configuration
	// Note says what the operator should know of the change.
	Note string `json:"note,omitempty"`
}
