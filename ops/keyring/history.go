package keyring

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// historyFile says when what was done to which sealing key. The keys work
// without it; only the date from which one may be destroyed comes from here.
const historyFile = "seal.history.json"

const (
	historyVersion = 1
	maxHistory     = 500 // keys, destroyed ones included
	keptHistory    = 64  // of them are kept by the next command; the file is bounded as any
	maxBy          = 128 // bytes
)

// Event is when something was done, and by whom.
type Event struct {
	At time.Time `json:"at"`
	By string    `json:"by"`
}

// Life is what was done to one key. A key that is older than its history has
// events missing.
type Life struct {
	ID        uint32 `json:"id"`
	Created   *Event `json:"created,omitempty"`
	Promoted  *Event `json:"promoted,omitempty"`  // the last time
	Retired   *Event `json:"retired,omitempty"`   // nil again once it is promoted
	Destroyed *Event `json:"destroyed,omitempty"` // it is gone
}

type history struct {
	Version int    `json:"v"`
	Keys    []Life `json:"keys"`
}

// decodeHistory takes nothing that encodeHistory does not write: a date that
// somebody wrote by hand would let a key be destroyed that is still needed.
func decodeHistory(b []byte) (history, error) {
	var h history
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&h); err != nil {
		return history{}, errors.New("is damaged: not the history of keys")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return history{}, errors.New("is damaged: something follows the history")
	}
	if h.Version != historyVersion {
		return history{}, fmt.Errorf("is of version %d, this build knows %d", h.Version, historyVersion)
	}
	if len(h.Keys) > maxHistory {
		return history{}, fmt.Errorf("is damaged: more than %d keys", maxHistory)
	}
	seen := make(map[uint32]bool, len(h.Keys))
	for _, k := range h.Keys {
		if seen[k.ID] {
			return history{}, fmt.Errorf("is damaged: key %d is named twice", k.ID)
		}
		seen[k.ID] = true
		for _, e := range []*Event{k.Created, k.Promoted, k.Retired, k.Destroyed} {
			if e != nil && (e.At.IsZero() || e.At.Location() != time.UTC || len(e.By) > maxBy) {
				return history{}, fmt.Errorf("is damaged: key %d has an event that cannot be", k.ID)
			}
		}
	}
	return h, nil
}

func encodeHistory(h history) ([]byte, error) {
	h.Version = historyVersion
	b, err := json.MarshalIndent(h, "", "  ")
	return append(b, '\n'), err
}

// readHistory gives the history of a directory; without a file it is empty.
func readHistory(dir string, readOnlySecrets bool) (history, error) {
	path := filepath.Join(dir, historyFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return history{}, nil
	}
	content, err := readKeyFile(path, readOnlySecrets)
	if err != nil {
		return history{}, err
	}
	h, err := decodeHistory(content)
	if err != nil {
		return history{}, fmt.Errorf("%s: %w; restore it from a backup, or move it away: then a key can be destroyed only "+
			"the longest retention after it is retired once more", path, err)
	}
	return h, nil
}

// of gives what is known of a key.
func (h *history) of(id uint32) Life {
	for _, k := range h.Keys {
		if k.ID == id {
			return k
		}
	}
	return Life{ID: id}
}

// trim forgets the keys that were destroyed first, where there are many.
func (h *history) trim() {
	many := len(h.Keys) - keptHistory
	h.Keys = slices.DeleteFunc(h.Keys, func(k Life) bool {
		many--
		return many >= 0 && k.Destroyed != nil
	})
}

// put replaces what is known of a key.
func (h *history) put(life Life) {
	for i := range h.Keys {
		if h.Keys[i].ID == life.ID {
			h.Keys[i] = life
			return
		}
	}
	h.Keys = append(h.Keys, life)
}
