package app

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/ops/keyring"
)

func TestAdminFileOfAnotherProcessStays(t *testing.T) {
	c := settings(t)
	a, _, err := up(t, c)
	must(t, err)
	r := run(t, a)
	await(t, "ready", r.Ready())
	path := filepath.Join(c.DataDir, AdminFile)
	other := AdminAccess{URL: "http://127.0.0.1:1", Token: "other"}
	must(t, writeAdminFile(path, &other))
	r.stop(t)
	got, err := ReadAdmin(c.DataDir)
	must(t, err)
	equal(t, "file", *got, other)
}

func TestRemoveIfOurs(t *testing.T) {
	path := filepath.Join(t.TempDir(), AdminFile)
	must(t, removeIfOurs(path, "mine")) // gone already
	must(t, os.WriteFile(path, []byte("{"), 0o600))
	must(t, removeIfOurs(path, "mine"))
	if _, err := readAdminFile(path); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read of a broken file = %v", err)
	}
	must(t, writeAdminFile(path, &AdminAccess{Token: "mine"}))
	must(t, removeIfOurs(path, "mine"))
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("our own file stays: %v", err)
	}
}

// A file that cannot be put in its place leaves nothing beside it.
func TestWriteAdminFileCleansUp(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, AdminFile)
	must(t, os.MkdirAll(filepath.Join(path, "x"), 0o700))
	if err := writeAdminFile(path, &AdminAccess{}); err == nil {
		t.Error("a directory was replaced")
	}
	left, err := os.ReadDir(dir)
	must(t, err)
	equal(t, "files", len(left), 1)
}

func TestMintToken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	must(t, keyring.Init(dir))
	keys, err := keyring.Open(t.Context(), dir, keyring.Options{})
	must(t, err)
	for _, days := range []int{-1, 0, MaxTokenDays + 1} {
		if _, err := MintToken(keys, contracts.TokenRequest{User: "u", Days: days, Scopes: []string{"chat"}}); err == nil {
			t.Errorf("a token for %d days", days)
		}
	}
	if _, err := MintToken(keys, contracts.TokenRequest{User: "u", Days: 2, Scopes: []string{"chat"}, Rate: "10"}); err == nil {
		t.Error("a token with half a rate")
	}
	got, err := MintToken(keys, contracts.TokenRequest{User: "u", Days: 2, Scopes: []string{"chat"}, Rate: "500/1000"})
	must(t, err)
	who, err := verifier{keys}.Verify(got.Token)
	must(t, err)
	equal(t, "rate", who.Rate, contracts.Rate{PerSecond: 500, Burst: 1000})
	equal(t, "rate of the answer", got.Rate, "500/1000")
	if _, err := MintToken(keys, contracts.TokenRequest{User: "u", Days: 2, Scopes: []string{"chat"}, Models: contracts.ModelNames{"a b"}}); err == nil {
		t.Error("a token for no model")
	}
	few, err := MintToken(keys, contracts.TokenRequest{User: "u", Days: 2, Scopes: []string{"chat"}, Models: contracts.ModelNames{"fast", "gpt-*"}})
	must(t, err)
	whose, err := verifier{keys}.Verify(few.Token)
	must(t, err)
	equal(t, "models", strings.Join(whose.Models, " "), "fast gpt-*")
	equal(t, "models of the answer", strings.Join(few.Models, " "), "fast gpt-*")
	equal(t, "models of the other", len(who.Models), 0)
	equal(t, "user", who.User, "u")
	equal(t, "scope", who.Scopes[0], "chat")
	if left := time.Until(got.Expires); left < 47*time.Hour || left > 49*time.Hour {
		t.Errorf("it expires in %s", left)
	}
	if _, err := (verifier{keys}).Verify(got.Token + "x"); err == nil {
		t.Error("a changed token is good")
	}
}
