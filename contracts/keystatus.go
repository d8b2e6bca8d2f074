package contracts

import (
	"errors"
	"slices"
	"time"
)

// SubjectKeysStatus is where every process, whatever its roles, answers which
// sealing keys it holds.
func SubjectKeysStatus() string { return "chat.keys.status" }

// KeyStatus is the answer: ids of keys, nothing of the keys themselves.
type KeyStatus struct {
	Version int      `json:"v"`
	Node    string   `json:"node"`
	Host    string   `json:"host"`
	PID     int      `json:"pid"`
	Roles   []string `json:"roles"`
	Build   string   `json:"version"`
	Primary uint32   `json:"primary"` // seals
	Keys    []uint32 `json:"keys"`    // open
	// Refused says why the key file that lies there now is not used.
	Refused string    `json:"refused,omitempty"`
	Since   time.Time `json:"since"` // when these keys were loaded
}

// Holds reports whether the process can open what key sealed.
func (s KeyStatus) Holds(key uint32) bool { return slices.Contains(s.Keys, key) }

// EncodeKeyStatus writes an answer on SubjectKeysStatus.
func EncodeKeyStatus(s KeyStatus) ([]byte, error) { return encode(&s, &s.Version) }

// DecodeKeyStatus reads one.
func DecodeKeyStatus(b []byte) (s KeyStatus, err error) {
	if err := decode(b, &s, &s.Version, "key status"); err != nil {
		return s, err
	}
	if s.Node == "" {
		return s, errors.New("key status without a node")
	}
	return s, nil
}

// AdminKeys is the answer of GET /admin/keys.
type AdminKeys struct {
	Processes []KeyStatus `json:"processes"` // who answered in time
	// Reseal is the last pass over Redis; null: there was none.
	Reseal *Resealing `json:"reseal"`
}
