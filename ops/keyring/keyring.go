// Package keyring keeps the key material of a deployment: the keyset that seals
// conversation content, the key that names things, and the keys of tokens. It
// makes keys only in Init, never replaces or prints one, and never logs.
package keyring

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/tink"

	"moltbot/contracts"
)

// The files of a key directory.
const (
	sealFile  = "seal.json" // Tink keyset, AES256-GCM; rotates by getting further keys
	idFile    = "id.key"    // 32 bytes in hex; never rotates, because ids made with it are stored
	tokenFile = "jwt.json"  // HS256 keys by kid
)

// Options of Open. The zero value is right for a directory that Init made.
type Options struct {
	// Root gives the sealing keyset. Default: seal.json of the directory.
	Root Root
	// ReadOnlySecrets accepts files and directories whose mode lets others in:
	// container platforms mount secrets so, and guard them by the container.
	ReadOnlySecrets bool
	// Now is the clock that tokens are made and checked by. Default: time.Now.
	Now func() time.Time
}

// Keyring is the loaded key material. It does not change; rotation is opening
// the directory again. It is safe for concurrent use.
type Keyring struct {
	seal   tink.AEAD
	id     []byte
	tokens tokenKeys

	verified verified
	now      func() time.Time
}

// Open loads the keys in dir. Its error names every file that cannot be used
// and says what to do.
func Open(ctx context.Context, dir string, o Options) (*Keyring, error) {
	if o.Root == nil {
		o.Root = FileRoot{Path: filepath.Join(dir, sealFile), ReadOnlySecrets: o.ReadOnlySecrets}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := checkDir(dir, o.ReadOnlySecrets); err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	seal, sealErr := loadSeal(ctx, o.Root)
	id, idErr := load(dir, idFile, o, parseIDKey)
	tokens, tokenErr := load(dir, tokenFile, o, parseTokenKeys)
	if err := errors.Join(sealErr, idErr, tokenErr); err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	known, err := newVerified()
	if err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	return &Keyring{seal: seal, id: id, tokens: tokens, verified: known, now: o.Now}, nil
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

func loadSeal(ctx context.Context, root Root) (tink.AEAD, error) {
	handle, err := root.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("sealing keyset: %w", err)
	}
	if err := checkKeyset(handle); err != nil {
		return nil, fmt.Errorf("sealing keyset: %w", err)
	}
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("sealing keyset: %w", err)
	}
	return primitive, nil
}

// IDKey is the key of names and ids that are stored. It is a copy.
func (k *Keyring) IDKey() []byte { return append([]byte(nil), k.id...) }

// Sealer protects content with the primary key and opens what any key of the
// keyset protected.
func (k *Keyring) Sealer() contracts.Sealer { return sealer{k.seal} }

// String hides the keys from a careless %v.
func (k *Keyring) String() string { return "keyring" }

// GoString hides the keys from %#v too.
func (k *Keyring) GoString() string { return k.String() }

type sealer struct{ aead tink.AEAD }

func (s sealer) Seal(plain []byte, kind contracts.Kind, conversation, id string) ([]byte, error) {
	sealed, err := s.aead.Encrypt(plain, contracts.AssociatedData(kind, conversation, id))
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", kind, err)
	}
	return sealed, nil
}

func (s sealer) Open(sealed []byte, kind contracts.Kind, conversation, id string) ([]byte, error) {
	plain, err := s.aead.Decrypt(sealed, contracts.AssociatedData(kind, conversation, id))
	if err != nil {
		return nil, fmt.Errorf("open sealed %s: %w", kind, err)
	}
	return plain, nil
}
