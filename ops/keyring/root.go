package keyring

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Root gives the keyset that seals content. It may hold several keys: the
// primary seals, all of them open.
type Root interface {
	Load(ctx context.Context) (*keyset.Handle, error)
}

// FileRoot is a keyset in a file that only its owner may read: in the clear, or
// wrapped by a root key that lies elsewhere.
type FileRoot struct {
	Path            string
	ReadOnlySecrets bool      // see Options
	Wrap            tink.AEAD // the root key; nil: the file is in the clear
}

// DirRoot is the FileRoot of a key directory.
func DirRoot(dir string, wrap tink.AEAD, readOnlySecrets bool) FileRoot {
	return FileRoot{Path: filepath.Join(dir, sealFile), Wrap: wrap, ReadOnlySecrets: readOnlySecrets}
}

// wrapPlace is what a wrapped keyset is bound to, so that nothing else that the
// root key wrapped passes for one.
const wrapPlace = "moltbot sealing keyset"

// Load reads the file.
func (r FileRoot) Load(context.Context) (*keyset.Handle, error) {
	content, err := readKeyFile(r.Path, r.ReadOnlySecrets)
	if err != nil {
		return nil, err
	}
	if err := r.fits(content); err != nil {
		return nil, fmt.Errorf("%s: %w", r.Path, err)
	}
	handle, err := r.decode(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.Path, err)
	}
	return handle, nil
}

// fits tells a wrapped file from one in the clear.
func (r FileRoot) fits(content []byte) error {
	var file struct {
		Encrypted json.RawMessage `json:"encryptedKeyset"`
		Keys      json.RawMessage `json:"key"`
	}
	if json.Unmarshal(content, &file) != nil {
		return nil // Tink refuses it
	}
	switch {
	case r.Wrap == nil && file.Encrypted != nil:
		return errors.New("is wrapped by a root key; set keys.root to where that lies")
	case r.Wrap != nil && file.Keys != nil:
		return errors.New("is in the clear, and keys.root names a root key; wrap it with: moltbot key wrap")
	}
	return nil
}

func (r FileRoot) decode(content []byte) (*keyset.Handle, error) {
	if r.Wrap == nil {
		handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(content)))
		if err != nil {
			// Tink's text quotes the file, which is the key.
			return nil, errors.New("is damaged: not a Tink keyset with a primary key; restore it from a backup")
		}
		return handle, nil
	}
	root := &heard{AEAD: r.Wrap}
	handle, err := keyset.ReadWithAssociatedData(keyset.NewJSONReader(bytes.NewReader(content)), root, []byte(wrapPlace))
	switch {
	case root.err != nil:
		return nil, fmt.Errorf("unwrap with the root key: %w", root.err)
	case err != nil:
		return nil, errors.New("is damaged: not a keyset wrapped by the root key; restore it from a backup")
	}
	return handle, nil
}

func (r FileRoot) encode(handle *keyset.Handle) ([]byte, error) {
	var b bytes.Buffer
	if r.Wrap == nil {
		err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&b))
		return b.Bytes(), err
	}
	root := &heard{AEAD: r.Wrap}
	err := handle.WriteWithAssociatedData(keyset.NewJSONWriter(&b), root, []byte(wrapPlace))
	if root.err != nil {
		err = root.err
	}
	if err != nil {
		return nil, fmt.Errorf("wrap with the root key: %w", err)
	}
	return b.Bytes(), nil
}

// heard keeps what the root key said: Tink's own errors do not wrap it.
type heard struct {
	tink.AEAD
	err error
}

func (h *heard) Encrypt(plain, place []byte) (b []byte, err error) {
	b, err = h.AEAD.Encrypt(plain, place)
	h.err = err
	return b, err
}

func (h *heard) Decrypt(sealed, place []byte) (b []byte, err error) {
	b, err = h.AEAD.Decrypt(sealed, place)
	h.err = err
	return b, err
}

// TextRoot is a keyset in the clear, as base64, which came with the environment.
// It cannot be followed: a new one comes with a restart.
type TextRoot struct{ Text string }

// Load decodes it.
func (r TextRoot) Load(context.Context) (*keyset.Handle, error) {
	content, err := base64.StdEncoding.DecodeString(r.Text)
	if err == nil {
		var handle *keyset.Handle
		if handle, err = insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(content))); err == nil {
			return handle, nil
		}
	}
	return nil, errors.New("keys.keyset is not the base64 of a Tink keyset with a primary key") // the cause would quote it
}

// NewRootKey makes a root key of 32 bytes given as base64 or hex. Its errors do
// not quote the text.
func NewRootKey(text string) (tink.AEAD, error) {
	key, err := hex.DecodeString(text)
	if err != nil {
		if key, err = base64.StdEncoding.Strict().DecodeString(text); err != nil {
			return nil, errors.New("keys.root_key is neither base64 nor hex")
		}
	}
	if len(key) != keySize {
		return nil, fmt.Errorf("keys.root_key has %d bytes, must have %d; make one with: openssl rand -base64 32", len(key), keySize)
	}
	if err := checkSecret(key); err != nil {
		return nil, fmt.Errorf("keys.root_key: %w", err)
	}
	root, err := subtle.NewAESGCM(key)
	if err != nil {
		return nil, errors.New("keys.root_key cannot be used")
	}
	return quietRoot{root}, nil
}

// quietRoot says what is wrong in our words.
type quietRoot struct{ tink.AEAD }

func (q quietRoot) Decrypt(sealed, place []byte) ([]byte, error) {
	plain, err := q.AEAD.Decrypt(sealed, place)
	if err != nil {
		return nil, errors.New("it is not the root key of this file, or the file is damaged")
	}
	return plain, nil
}

// SealFile is the file of the sealing keyset in a key directory.
func SealFile(dir string) string { return filepath.Join(dir, sealFile) }
