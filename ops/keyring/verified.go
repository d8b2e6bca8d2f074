package keyring

import (
	"crypto/sha256"
	"slices"
	"time"

	"github.com/maypok86/otter/v2"
)

// verified remembers tokens whose signature was checked, by their hash, so that
// a caller who sends the same one with every request is not computed again.
// What changes with time is checked every time.
type verified struct {
	cache *otter.Cache[[sha256.Size]byte, Claims]
}

// manyTokens bounds the memory: a few hundred bytes for each.
const manyTokens = 10_000

func newVerified() (verified, error) {
	cache, err := otter.New(&otter.Options[[sha256.Size]byte, Claims]{MaximumSize: manyTokens})
	return verified{cache}, err
}

func (v verified) find(token string, now time.Time) (Claims, bool) {
	c, ok := v.cache.GetIfPresent(sha256.Sum256([]byte(token)))
	if !ok || !now.Before(c.Expires.Add(leeway)) || now.Before(c.Issued.Add(-leeway)) {
		return Claims{}, false // the full check finds the words for it
	}
	c.Scopes = slices.Clone(c.Scopes)
	return c, true
}

func (v verified) remember(token string, c Claims) {
	c.Scopes = slices.Clone(c.Scopes)
	v.cache.Set(sha256.Sum256([]byte(token)), c)
}
