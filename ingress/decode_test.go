package ingress

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"moltbot/contracts"
)

// FuzzDecodeStrict: what passes means one thing only, to us as to any other
// reader; what does not is refused with a code and a text of bounded length.
func FuzzDecodeStrict(f *testing.F) {
	for _, s := range []string{
		`{"message":"hi","timeout":5}`, `{"message":"hi","message":"ho"}`, `{"Message":"hi"}`, `{} {}`, `null`, `[]`, ``, ` `, `{"message":"\ud800"}`,
		"{\"message\":\"\xff\"}", `{"timeout":1e400}`, `{"timeout":1.5}`, `{"timeout":null}`, `{"message":{"a":[[[]]]}}`, `{"stream":"yes"}`,
		strings.Repeat(`{"a":`, 33) + "1" + strings.Repeat("}", 33), `{"` + strings.Repeat("é", 100) + `":1}`, `{"x":1,}`, `{"message":"hi"`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var r contracts.ChatRequest
		err := decodeStrict(body, &r)
		if err != nil {
			var e *contracts.Error
			if !errors.As(err, &e) || e.Code != contracts.CodeBadRequest || e.Message == "" || len(e.Message) > 256 || !utf8.ValidString(e.Message) {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		if !utf8.Valid(body) {
			t.Fatalf("%q is not UTF-8 and was taken", body)
		}
		// The standard library is lax: what we take, it must read alike.
		var lax contracts.ChatRequest
		if err := json.Unmarshal(body, &lax); err != nil {
			t.Fatalf("%q was taken and is no JSON: %v", body, err)
		}
		if (r.Timeout == nil) != (lax.Timeout == nil) || (r.Timeout != nil && *r.Timeout != *lax.Timeout) {
			t.Fatalf("%q: timeout %v, %v", body, r.Timeout, lax.Timeout)
		}
		if (r.Cache == nil) != (lax.Cache == nil) || (r.Cache != nil && *r.Cache != *lax.Cache) {
			t.Fatalf("%q: cache %v, %v", body, r.Cache, lax.Cache)
		}
		r.Timeout, lax.Timeout, r.Cache, lax.Cache = nil, nil, nil, nil
		if r != lax {
			t.Fatalf("%q: %+v, %+v", body, r, lax)
		}
	})
}

func TestClip(t *testing.T) {
	for _, c := range []struct {
		s    string
		n    int
		want string
	}{{"abc", 3, "abc"}, {"abcd", 3, "abc"}, {"aé", 2, "a"}, {"世界", 5, "世"}, {"世", 1, ""}} {
		if got := clip(c.s, c.n); got != c.want {
			t.Errorf("clip(%q, %d) = %q, want %q", c.s, c.n, got, c.want)
		}
	}
}
