package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead/aesgcm"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// Root gives the keyset that seals content. It may hold several keys: the
// primary seals, all of them open.
type Root interface {
	Load(ctx context.Context) (*keyset.Handle, error)
}

// FileRoot is a keyset in the clear in a file that only its owner may read.
type FileRoot struct {
	Path            string
	ReadOnlySecrets bool // see Options
}

// Load reads the file.
func (r FileRoot) Load(context.Context) (*keyset.Handle, error) {
	content, err := readKeyFile(r.Path, r.ReadOnlySecrets)
	if err != nil {
		return nil, err
	}
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(content)))
	if err != nil {
		// Tink's text quotes the file, which is the key.
		return nil, fmt.Errorf("%s: is damaged: not a Tink keyset with a primary key; restore it from a backup", r.Path)
	}
	return handle, nil
}

// checkKeyset accepts AES-256-GCM keys that name themselves in what they seal.
// Without the name (Tink's prefix) a second key could not be told from the first.
func checkKeyset(handle *keyset.Handle) error {
	if handle == nil || handle.Len() == 0 {
		return errors.New("holds no key")
	}
	for i := range handle.Len() {
		entry, err := handle.Entry(i)
		if err != nil {
			return fmt.Errorf("read key %d: %w", i, err)
		}
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
