package keyring

import (
	"bytes"
	"strings"
	"testing"
)

func TestCallbackSecretsAreEachTheirOwn(t *testing.T) {
	dir := newDir(t)
	k := open(t, dir)
	get := func(k *Keyring, user string, n int) string {
		t.Helper()
		s, err := k.CallbackSecret(user, n)
		if err != nil || len(s) != 32 || bytes.Equal(s, k.id) {
			t.Fatalf("%d bytes, %v", len(s), err)
		}
		return ShownCallbackSecret(s)
	}
	ann := get(k, "ann", 1)
	if again := get(open(t, dir), "ann", 1); again != ann || !strings.HasPrefix(ann, "whsec_") || len(ann) != 6+44 {
		t.Errorf("%s, then %s", ann, again)
	}
	seen := map[string]string{ann: "ann 1"}
	for name, s := range map[string]string{"ann 2": get(k, "ann", 2), "bob 1": get(k, "bob", 1), "another keyring": get(open(t, newDir(t)), "ann", 1)} {
		if seen[s] != "" {
			t.Errorf("%s has the secret of %s", name, seen[s])
		}
		seen[s] = name
	}
	for _, user := range []string{"", "a b", "2 ann", strings.Repeat("a", 65)} {
		if _, err := k.CallbackSecret(user, 1); err == nil {
			t.Errorf("%q has a secret", user)
		}
	}
}

// Secrets that receivers have must not change with a release. The value was computed
// once more from the text of RFC 5869.
func TestCallbackSecretIsWhatItWas(t *testing.T) {
	k := &Keyring{id: bytes.Repeat([]byte{7}, 32)}
	s, err := k.CallbackSecret("ann", 1)
	if got := ShownCallbackSecret(s); err != nil || got != "whsec_zYUne/Mfmwga6h7WqdWAbvTlD/BWU1vVWyKAZnBO70I=" {
		t.Errorf("%s, %v", got, err)
	}
}
