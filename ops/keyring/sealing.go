package keyring

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/aesgcm"
	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"moltbot/contracts"
)

// sealing is the sealing keyset as it is used. It does not change: rotation puts
// another one in its place.
type sealing struct {
	handle  *keyset.Handle
	aead    tink.AEAD
	primary uint32
	ids     []uint32 // ascending
	since   time.Time
}

func loadSealing(ctx context.Context, root Root, now time.Time) (*sealing, error) {
	handle, err := root.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("sealing keyset: %w", err)
	}
	s, err := newSealing(handle, now)
	if err != nil {
		return nil, fmt.Errorf("sealing keyset: %w", err)
	}
	return s, nil
}

func newSealing(handle *keyset.Handle, now time.Time) (*sealing, error) {
	if err := checkKeyset(handle); err != nil {
		return nil, err
	}
	primary, err := handle.Primary()
	if err != nil {
		return nil, errors.New("has no primary key")
	}
	s := &sealing{handle: handle, primary: primary.KeyID(), since: now}
	for i := range handle.Len() {
		entry, err := handle.Entry(i)
		if err != nil {
			return nil, fmt.Errorf("read key %d: %w", i, err)
		}
		if entry.KeyStatus() == keyset.Enabled {
			s.ids = append(s.ids, entry.KeyID())
		}
	}
	slices.Sort(s.ids)
	s.aead, err = aead.New(handle)
	return s, err
}

// follows refuses a keyset that cannot have come from this one by rotation:
// another deployment's file, or one in which the key that everything is sealed
// with at this moment is missing or another one.
func (s *sealing) follows(old *sealing) error {
	was, is := old.key(old.primary), s.key(old.primary)
	switch {
	case is == nil:
		return fmt.Errorf("does not hold key %d, which this process seals with", old.primary)
	case !is.Equal(was):
		return fmt.Errorf("holds another key under the id %d, which this process seals with", old.primary)
	}
	return nil
}

func (s *sealing) key(id uint32) *aesgcm.Key {
	for i := range s.handle.Len() {
		if entry, err := s.handle.Entry(i); err == nil && entry.KeyID() == id && entry.KeyStatus() == keyset.Enabled {
			key, _ := entry.Key().(*aesgcm.Key) // checkKeyset saw to it
			return key
		}
	}
	return nil
}

// same reports whether two keysets do the same.
func (s *sealing) same(other *sealing) bool {
	if s.primary != other.primary || !slices.Equal(s.ids, other.ids) {
		return false
	}
	for _, id := range s.ids {
		if a, b := s.key(id), other.key(id); a == nil || b == nil || !a.Equal(b) {
			return false
		}
	}
	return true
}

// Reload loads the sealing keyset again and uses it from then on, everywhere
// where a Sealer of this Keyring is in use. On an error the one before stays. The
// key of names and the keys of tokens are not touched.
func (k *Keyring) Reload(ctx context.Context) (changed bool, err error) {
	k.reload.Lock()
	defer k.reload.Unlock()
	next, err := loadSealing(ctx, k.root, k.now())
	if err != nil {
		return false, err
	}
	now := k.seal.Load()
	if next.same(now) {
		return false, nil
	}
	if err := next.follows(now); err != nil {
		return false, fmt.Errorf("sealing keyset: %w", err)
	}
	k.seal.Store(next)
	return true, nil
}

// Keys gives the id of the key that seals, and those of all that open.
func (k *Keyring) Keys() (primary uint32, all []uint32, since time.Time) {
	s := k.seal.Load()
	return s.primary, slices.Clone(s.ids), s.since
}

// Primary is the id of the key that seals.
func (k *Keyring) Primary() uint32 { return k.seal.Load().primary }

// Current reports whether sealed was made with the primary key, without opening it.
func (k *Keyring) Current(sealed []byte) bool {
	id, ok := sealedBy(sealed)
	return ok && id == k.Primary()
}

// sealedBy reads Tink's prefix: a byte that says what follows, and the key's id.
func sealedBy(sealed []byte) (key uint32, ok bool) {
	if len(sealed) < 5 || sealed[0] != 1 {
		return 0, false
	}
	return binary.BigEndian.Uint32(sealed[1:5]), true
}

// Sealer protects content with the primary key and opens what any key of the
// keyset protected. It stays in use when keys rotate.
func (k *Keyring) Sealer() contracts.Sealer { return sealer{k} }

type sealer struct{ keys *Keyring }

func (s sealer) Seal(plain []byte, kind contracts.Kind, conversation, id string) ([]byte, error) {
	sealed, err := s.keys.seal.Load().aead.Encrypt(plain, contracts.AssociatedData(kind, conversation, id))
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", kind, err)
	}
	return sealed, nil
}

func (s sealer) Open(sealed []byte, kind contracts.Kind, conversation, id string) ([]byte, error) {
	held := s.keys.seal.Load()
	plain, err := held.aead.Decrypt(sealed, contracts.AssociatedData(kind, conversation, id))
	if err != nil {
		if by, ok := sealedBy(sealed); ok && !slices.Contains(held.ids, by) {
			err = fmt.Errorf("key %d: %w", by, contracts.ErrNoKey)
		}
		return nil, fmt.Errorf("open sealed %s: %w", kind, err)
	}
	return plain, nil
}

// checkKeyset accepts AES-256-GCM keys that name themselves in what they seal.
// Without the name (Tink's prefix) a second key could not be told from the first.
func checkKeyset(handle *keyset.Handle) error {
	if handle == nil || handle.Len() == 0 {
		return errors.New("holds no key")
	}
	if handle.Len() > maxSealKeys {
		return fmt.Errorf("holds more than %d keys", maxSealKeys)
	}
	seen := make(map[uint32]bool)
	for i := range handle.Len() {
		entry, err := handle.Entry(i)
		if err != nil {
			return fmt.Errorf("read key %d: %w", i, err)
		}
		if seen[entry.KeyID()] {
			return fmt.Errorf("holds two keys with the id %d", entry.KeyID())
		}
		seen[entry.KeyID()] = true
		key, ok := entry.Key().(*aesgcm.Key)
		if !ok {
			return fmt.Errorf("key %d is not an AES-GCM key", entry.KeyID())
		}
		params, ok := key.Parameters().(*aesgcm.Parameters)
		if !ok || params.Variant() != aesgcm.VariantTink {
			return fmt.Errorf("key %d has no Tink prefix", entry.KeyID())
		}
		if err := checkSecret(key.KeyBytes().Data(insecuresecretdataaccess.Token{})); err != nil {
			return fmt.Errorf("key %d: %w", entry.KeyID(), err)
		}
	}
	return nil
}

// maxSealKeys bounds a keyset: a rotation needs two, a hasty one a few.
const maxSealKeys = 16
