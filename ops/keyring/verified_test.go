package keyring_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"moltbot/ops/keyring"
)

// A token that was verified before still expires, and its like is not known.
func TestVerifiedBefore(t *testing.T) {
	dir := t.TempDir()
	if err := keyring.Init(dir); err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	k, err := keyring.Open(t.Context(), dir, keyring.Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	token, err := k.Sign(keyring.Claims{User: "ann", Scopes: []string{"chat"}, Expires: now.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		c, err := k.Verify(token)
		if err != nil || c.User != "ann" || len(c.Scopes) != 1 || c.Scopes[0] != "chat" {
			t.Fatalf("%+v, %v", c, err)
		}
		c.Scopes[0] = "admin" // what a caller does to its copy is its own affair
	}
	last := token[len(token)-2:]
	forged := token[:len(token)-2] + strings.Map(func(r rune) rune {
		if r == 'A' {
			return 'B'
		}
		return 'A'
	}, last)
	if _, err := k.Verify(forged); !errors.Is(err, keyring.ErrToken) {
		t.Errorf("forged: %v", err)
	}
	issued := now
	now = issued.Add(-31 * time.Second)
	if _, err := k.Verify(token); !errors.Is(err, keyring.ErrToken) {
		t.Errorf("before it was issued: %v", err)
	}
	now = issued.Add(time.Hour + 29*time.Second)
	if _, err := k.Verify(token); err != nil {
		t.Errorf("within the leeway: %v", err)
	}
	now = issued.Add(time.Hour + 30*time.Second)
	if _, err := k.Verify(token); !errors.Is(err, keyring.ErrToken) || !strings.Contains(err.Error(), "expired") {
		t.Errorf("expired: %v", err)
	}
}
