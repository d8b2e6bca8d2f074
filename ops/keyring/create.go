package keyring

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// Init makes dir, and in it the key files that are missing. It never replaces
// one, so it may run any number of times and at the same time: everybody ends
// up with the same keys.
func Init(dir string) error { return InitRoot(dir, DirRoot(dir, nil, false)) }

// InitRoot is Init where the sealing keyset is kept as root says.
func InitRoot(dir string, root Root) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make key directory: %w", err)
	}
	if err := checkDir(dir, false); err != nil {
		return fmt.Errorf("make keys: %w", err)
	}
	type file struct {
		name string
		make func() ([]byte, error)
	}
	missing := []file{{idFile, newIDKey}, {tokenFile, newTokenKeys}}
	if r, ok := root.(FileRoot); ok {
		missing = append(missing, file{sealFile, func() ([]byte, error) { return newKeyset(r) }})
	}
	for _, file := range missing {
		if err := create(dir, file.name, file.make); err != nil {
			return fmt.Errorf("make %s: %w", filepath.Join(dir, file.name), err)
		}
	}
	if err := syncDir(filepath.Dir(filepath.Clean(dir))); err != nil {
		return fmt.Errorf("sync parent of key directory: %w", err)
	}
	return nil
}

// create writes a new file whole or not at all. Linking the finished temporary
// file is the rename that fails, instead of replacing, when the name is taken.
func create(dir, name string, content func() ([]byte, error)) error {
	path := filepath.Join(dir, name)
	if _, err := os.Lstat(path); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := content()
	if err != nil {
		return err
	}
	temporary, err := writeTemporary(dir, name, key, nil)
	if temporary != "" {
		defer func() { _ = os.Remove(temporary) }() // a name too many; the key file keeps its own
	}
	if err != nil {
		return err
	}
	if err := os.Link(temporary, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("give the file its name: %w", err)
	}
	return syncDir(dir) // also after losing the race: the winner may not have got here yet
}

// writeTemporary writes content beside where it is to lie, closed to others, or as
// before is.
func writeTemporary(dir, name string, content []byte, before fs.FileInfo) (path string, err error) {
	f, err := os.CreateTemp(dir, "."+name+".*") // mode 0600
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(content); err != nil {
		return f.Name(), err
	}
	if before != nil {
		err = keepOwner(f, before)
	} else {
		err = f.Chmod(0o400)
	}
	if err != nil {
		return f.Name(), err
	}
	return f.Name(), f.Sync()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func newKeyset(root FileRoot) ([]byte, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, err
	}
	return root.encode(handle)
}

func newIDKey() ([]byte, error) {
	return append([]byte(hex.EncodeToString(random())), '\n'), nil
}

func newTokenKeys() ([]byte, error) {
	kid := "k1-" + hex.EncodeToString(random()[:4])
	b, err := json.MarshalIndent(tokenDoc{Keys: []tokenKey{{ID: kid, Secret: random()}}, Primary: kid}, "", "  ")
	return append(b, '\n'), err
}

// random gives a new key. Since Go 1.24 rand.Read cannot fail: it ends the
// process instead.
func random() []byte {
	key := make([]byte, keySize)
	_, _ = rand.Read(key)
	return key
}
