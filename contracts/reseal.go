package contracts

import (
	"fmt"
	"time"
)

// TaskReseal seals what lies in Redis anew with the primary key.
const TaskReseal TaskType = "reseal"

// Reseal is the payload of TaskReseal.
type Reseal struct {
	Version int `json:"v"`
	// Key is the id of the key that everything is to be sealed with. A process
	// that does not seal with it yet leaves the task to a later try.
	Key uint32 `json:"key"`
}

// ResealID is the id of the task that seals everything with key; try counts on
// when an earlier one was given up.
func ResealID(key uint32, try int) string { return fmt.Sprintf("reseal:%d:%d", key, try) }

// EncodeReseal gives the bytes of a payload.
func EncodeReseal(r Reseal) ([]byte, error) { return encode(&r, &r.Version) }

// DecodeReseal reads what EncodeReseal wrote.
func DecodeReseal(b []byte) (r Reseal, err error) {
	err = decode(b, &r, &r.Version, "reseal task")
	return r, err
}

// What a Resealing is at.
const (
	ResealRunning = "running"
	ResealDone    = "done"
	ResealFailed  = "failed"
)

// Resealing is how far Redis is sealed with a key, as KeyReseal holds it.
type Resealing struct {
	Version int       `json:"v"`
	Key     uint32    `json:"key"`
	State   string    `json:"state"`
	Node    string    `json:"node,omitempty"` // who is at it
	Began   time.Time `json:"began"`
	At      time.Time `json:"at"`     // of this record
	Keys    int64     `json:"keys"`   // Redis keys that were looked at
	Total   int64     `json:"total"`  // about how many there are
	Sealed  int64     `json:"sealed"` // values that were sealed anew
	Left    int64     `json:"left"`   // values that others changed again and again meanwhile
	Bad     int64     `json:"bad"`    // values that no key opens, or of an unknown form
}

// Covers reports whether all that lies in Redis was sealed with key.
func (r *Resealing) Covers(key uint32) bool {
	return r != nil && r.State == ResealDone && r.Key == key
}

// EncodeResealing gives the value of KeyReseal.
func EncodeResealing(r Resealing) ([]byte, error) { return encode(&r, &r.Version) }

// DecodeResealing reads it.
func DecodeResealing(b []byte) (r Resealing, err error) {
	err = decode(b, &r, &r.Version, "reseal record")
	return r, err
}
