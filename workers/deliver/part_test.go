package deliver

import (
	"regexp"
	"testing"
)

func TestParts(t *testing.T) {
	plain := regexp.MustCompile(`^[a-z0-9]{50}$`)
	seen := map[string]bool{}
	for _, id := range []string{"a", "b", "a1"} {
		parts := Parts(id, []string{"x", "y"})
		for i, p := range parts {
			if p.Number != i+1 || p.Of != 2 || !plain.MatchString(p.Key) || seen[p.Key] {
				t.Errorf("%+v", p)
			}
			seen[p.Key] = true
		}
		if again := Parts(id, []string{"other", "text"}); again[1].Key != parts[1].Key {
			t.Error("the key follows the text")
		}
	}
}
