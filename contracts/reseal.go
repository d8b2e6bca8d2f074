package contracts

import "time"

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
