package upstream

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzRedact(f *testing.F) {
	const key = "sk-canary-0123456789"
	f.Add("a ", " b", 3, 15)
	f.Fuzz(func(t *testing.T, before, after string, from, to int) {
		if from < 0 || to > len(key) || to-from < window {
			return
		}
		out := newRedactor([]string{"sk-other-9876543210", key}).clean(before + key[from:to] + after)
		for i := 0; i+window <= len(key); i++ {
			if strings.Contains(out, key[i:i+window]) {
				t.Fatalf("%q leaks", out)
			}
		}
		if len(out) > maxChain+len("…") || !utf8.ValidString(out) {
			t.Fatalf("%d bytes: %q", len(out), out)
		}
	})
}
