package keyring

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"moltbot/contracts"
)

func TestSealer(t *testing.T) {
	dir := newDir(t)
	s := open(t, dir).Sealer()
	sealed, err := s.Seal([]byte("你好"), contracts.KindTurn, "c1", "m1")
	if err != nil || bytes.Contains(sealed, []byte("你好")) {
		t.Fatalf("Seal = %q, %v", sealed, err)
	}
	if plain, err := open(t, dir).Sealer().Open(sealed, contracts.KindTurn, "c1", "m1"); err != nil || string(plain) != "你好" {
		t.Errorf("Open = %q, %v", plain, err)
	}
	flipped := bytes.Clone(sealed)
	flipped[len(flipped)-1] ^= 1
	for name, attempt := range map[string]func() ([]byte, error){
		"other kind":         func() ([]byte, error) { return s.Open(sealed, contracts.KindResult, "c1", "m1") },
		"other conversation": func() ([]byte, error) { return s.Open(sealed, contracts.KindTurn, "c2", "m1") },
		"other id":           func() ([]byte, error) { return s.Open(sealed, contracts.KindTurn, "c1", "m2") },
		"moved border":       func() ([]byte, error) { return s.Open(sealed, contracts.KindTurn, "c1m", "1") },
		"flipped bit":        func() ([]byte, error) { return s.Open(flipped, contracts.KindTurn, "c1", "m1") },
		"cut":                func() ([]byte, error) { return s.Open(sealed[:20], contracts.KindTurn, "c1", "m1") },
		"empty":              func() ([]byte, error) { return s.Open(nil, contracts.KindTurn, "c1", "m1") },
		"other keyring": func() ([]byte, error) {
			return open(t, newDir(t)).Sealer().Open(sealed, contracts.KindTurn, "c1", "m1")
		},
	} {
		if plain, err := attempt(); err == nil {
			t.Errorf("%s: opened as %q", name, plain)
		}
	}
}

// fixedRoot is a root key that is no file, as a vault would be.
type fixedRoot struct {
	handle *keyset.Handle
	err    error
}

func (r fixedRoot) Load(context.Context) (*keyset.Handle, error) { return r.handle, r.err }

func TestRotatedKeysetOpensOldAndNew(t *testing.T) {
	dir := newDir(t)
	old := open(t, dir).Sealer()
	first, err := FileRoot{Path: filepath.Join(dir, sealFile)}.Load(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	manager := keyset.NewManagerFromHandle(first)
	id, err := manager.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	if err := manager.SetPrimary(id); err != nil {
		t.Fatal(err)
	}
	second, err := manager.Handle()
	if err != nil {
		t.Fatal(err)
	}
	k, err := Open(context.Background(), dir, Options{Root: fixedRoot{handle: second}})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := old.Seal([]byte("old"), contracts.KindTurn, "c", "m")
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := k.Sealer().Open(sealed, contracts.KindTurn, "c", "m"); err != nil || string(plain) != "old" {
		t.Errorf("old text: %q, %v", plain, err)
	}
	sealed, err = k.Sealer().Seal([]byte("new"), contracts.KindTurn, "c", "m")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.Open(sealed, contracts.KindTurn, "c", "m"); !errors.Is(err, contracts.ErrNoKey) {
		t.Errorf("what the new primary sealed, opened by the old keyset: %v", err)
	}
	if _, err := k.Sealer().Open(sealed, contracts.KindTurn, "c", "other"); err == nil || errors.Is(err, contracts.ErrNoKey) {
		t.Errorf("in another place: %v", err)
	}
}

func TestOpenRefusesOtherRoots(t *testing.T) {
	dir := newDir(t)
	boom := errors.New("vault is sealed")
	if _, err := Open(context.Background(), dir, Options{Root: fixedRoot{err: boom}}); !errors.Is(err, boom) {
		t.Errorf("a failing root: %v", err)
	}
	if _, err := Open(context.Background(), dir, Options{Root: fixedRoot{}}); err == nil {
		t.Error("a root without a keyset was accepted")
	}
}
