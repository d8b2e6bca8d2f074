// Package keyring keeps the key material of a deployment: the keyset that seals
// conversation content, the key that names things, and the keys of tokens. It
// makes keys only in Init and Rotation.Add, never prints one, and never logs.
package keyring

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// The files of a key directory.
const (
	sealFile  = "seal.json" // Tink keyset, AES256-GCM; rotates by getting further keys
	idFile    = "id.key"    // 32 bytes in hex; never rotates, because ids made with it are stored
	tokenFile = "jwt.json"  // HS256 keys by kid
)

// Options of Open. The zero value is right for a directory that Init made.
type Options struct {
	// Root gives the sealing keyset. Default: seal.json of the directory, in the clear.
	Root Root
	// ReadOnlySecrets accepts files and directories whose mode lets others in:
	// container platforms mount secrets so, and guard them by the container.
	ReadOnlySecrets bool
	// Now is the clock that tokens are made and checked by. Default: time.Now.
	Now func() time.Time
}

// Keyring is the loaded key material. Only the sealing keyset changes, by Reload.
// It is safe for concurrent use.
type Keyring struct {
	root   Root
	reload sync.Mutex // one Reload at a time
	seal   atomic.Pointer[sealing]
	id     []byte
	tokens tokenKeys

	verified verified
	now      func() time.Time
}

// Open loads the keys in dir. Its error names every file that cannot be used
// and says what to do.
func Open(ctx context.Context, dir string, o Options) (*Keyring, error) {
	if o.Root == nil {
		o.Root = DirRoot(dir, nil, o.ReadOnlySecrets)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := checkDir(dir, o.ReadOnlySecrets); err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	seal, sealErr := loadSealing(ctx, o.Root, o.Now())
	id, idErr := load(dir, idFile, o, parseIDKey)
	tokens, tokenErr := load(dir, tokenFile, o, parseTokenKeys)
	if err := errors.Join(sealErr, idErr, tokenErr); err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	known, err := newVerified()
	if err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	k := &Keyring{root: o.Root, id: id, tokens: tokens, verified: known, now: o.Now}
	k.seal.Store(seal)
	return k, nil
}

func load[T any](dir, name string, o Options, parse func([]byte) (T, error)) (T, error) {
	var none T
	path := filepath.Join(dir, name)
	content, err := readKeyFile(path, o.ReadOnlySecrets)
	if err != nil {
		return none, err
	}
	key, err := parse(content)
	if err != nil {
		return none, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// IDKey is the key of names and ids that are stored. It is a copy.
func (k *Keyring) IDKey() []byte { return append([]byte(nil), k.id...) }

// String hides the keys from a careless %v.
func (k *Keyring) String() string { return "keyring" }

// GoString hides the keys from %#v too.
func (k *Keyring) GoString() string { return k.String() }
