package contracts

import (
	"encoding/json"
	"fmt"
	"time"
)

// ModelsStatus is the table of models as one process with the workers role has it.
type ModelsStatus struct {
	Revision int64 `json:"revision"` // of the table in force; 0: that of the process' own configuration
	// Refused is the revision of a newer table that the process does not take,
	// and Error says why. Both go when it follows again.
	Refused   int64    `json:"refused,omitempty"`
	Error     string   `json:"error,omitempty"`
	File      string   `json:"file,omitempty"`      // digest of the table of its configuration
	Providers []string `json:"providers,omitempty"` // that its configuration names, in order
	// Mistake says why its configuration could not be read again.
	Mistake string `json:"mistake,omitempty"`
	// Resting are the keys that are not used at the moment, by provider.
	Resting map[string][]RestingKey `json:"resting,omitempty"`
}

// RestingKey is a key of a provider that has had too many calls, or is refused.
type RestingKey struct {
	Key     int       `json:"key"` // which one, from 1, as configured
	Until   time.Time `json:"until"`
	Refused bool      `json:"refused,omitempty"`
}

// AdminModel is the answer of GET /admin/model.
type AdminModel struct {
	Revision int64        `json:"revision"` // of Table in its bucket; 0: there is none
	Table    *ModelTable  `json:"table,omitempty"`
	Error    string       `json:"error,omitempty"` // why there is a revision and no table
	Workers  []ModelsNode `json:"workers"`         // who answered in time
}

// ModelsNode is one process with the workers role. Models is nil where it is of
// a version that knows no tables.
type ModelsNode struct {
	Node   string        `json:"node"`
	Host   string        `json:"host"`
	PID    int           `json:"pid"`
	Models *ModelsStatus `json:"models,omitempty"`
}

// Follows reports whether n has the table of this revision, or a newer one.
func (n ModelsNode) Follows(revision int64) bool {
	return n.Models != nil && n.Models.Revision >= revision
}

// ModelRequest is the body of PUT /admin/model: a whole table, or what is to
// change of the one that holds.
type ModelRequest struct {
	Default string        `json:"default,omitempty"`
	Routes  *[]ModelRoute `json:"routes,omitempty"` // instead of the present ones; [] takes all away
	Table   *ModelTable   `json:"table,omitempty"`
	// Revision that the change is meant for; nil: whichever holds. The header
	// If-Match says the same.
	Revision *int64 `json:"revision,omitempty"`
}

// ModelReply is its answer, and that of POST /admin/model/reload.
type ModelReply struct {
	Revision int64  `json:"revision"`
	Default  string `json:"default"`
	Changed  bool   `json:"changed"` // false: the table was like that already
	Applied  int    `json:"applied"` // processes that follow
	Workers  int    `json:"workers"` // of so many
	// Behind says of each of the others why it does not.
	Behind []string `json:"behind,omitempty"`
}

// ModelsReload is what SubjectModelsReload carries: each process with the workers
// role reads its configuration of models again.
type ModelsReload struct {
	Version int `json:"v"`
	// Import is the digest of the table that is to hold: who has it in its
	// configuration stores it. Empty: nobody does.
	Import string `json:"import,omitempty"`
	By     string `json:"by,omitempty"`
}

// EncodeModelsReload writes one.
func EncodeModelsReload(r ModelsReload) ([]byte, error) { return encode(&r, &r.Version) }

// DecodeModelsReload reads one.
func DecodeModelsReload(b []byte) (r ModelsReload, err error) {
	err = decode(b, &r, &r.Version, "reload of models")
	return r, err
}

// keptSources is how many digests of files a table remembers.
const keptSources = 32

// From is t as it comes out of the file with this digest: of the sources of
// old, if there is one, the digest becomes the newest.
func (t ModelTable) From(digest string, old *ModelTable, now time.Time) ModelTable {
	t.Sources, t.By, t.At = []string{digest}, "file", now.UTC()
	if old == nil {
		return t
	}
	for _, s := range old.Sources {
		if s != digest && len(t.Sources) < keptSources {
			t.Sources = append(t.Sources, s)
		}
	}
	return t
}

// Same reports whether t and other say the same of models; who said it and when
// does not count.
func (t ModelTable) Same(other ModelTable) bool {
	for _, x := range []*ModelTable{&t, &other} {
		x.Version, x.Sources, x.By, x.At = 0, nil, "", time.Time{}
		if len(x.Routes) == 0 {
			x.Routes = nil
		}
	}
	a, errA := json.Marshal(t) // maps are written in the order of their keys
	b, errB := json.Marshal(other)
	return errA == nil && errB == nil && string(a) == string(b)
}

// Changed is t as r wants it. It is not checked yet.
func (r ModelRequest) Changed(t *ModelTable) (ModelTable, error) {
	if r.Table != nil {
		next := *r.Table
		next.Sources = nil
		if t != nil {
			next.Sources = t.Sources
		}
		t = &next
	}
	if t == nil {
		return ModelTable{}, fmt.Errorf("there is no table to change yet: start a process with the workers role, or give a whole one")
	}
	next := *t
	if r.Default != "" {
		next.Default = r.Default
	}
	if r.Routes != nil {
		next.Routes = *r.Routes
	}
	return next, nil
}
