package contracts

import (
	"strings"
	"testing"
)

func TestCallbackHosts(t *testing.T) {
	h, err := ParseCallbackHosts([]string{
		"alice=hooks.example.com", "alice=example.org:8443", "*=*.wild.example.com", "bob=http://10.0.0.7:9000", "bob=https://[2001:db8::1]", "a:b@c=one.example", "carol=https://p.example:443",
	})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"alice https://hooks.example.com/x?y=z":      true,
		"alice https://hooks.example.com:443/":       true,
		"alice https://hooks.example.com:8443/":      false,
		"alice http://hooks.example.com/":            false,
		"alice https://a.hooks.example.com/":         false,
		"alice https://hooks.example.com.evil.test/": false,
		"alice https://example.org:8443/":            true,
		"alice https://example.org/":                 false,
		"bob https://hooks.example.com/":             false,
		"dave https://a.wild.example.com/":           true,
		"dave https://a.b.wild.example.com/":         true,
		"dave https://wild.example.com/":             false,
		"dave https://evilwild.example.com/":         false,
		"dave https://a.wild.example.com:444/":       false,
		"dave http://a.wild.example.com/":            false,
		"bob http://10.0.0.7:9000/":                  true,
		"bob https://10.0.0.7:9000/":                 false,
		"bob http://10.0.0.7/":                       false,
		"bob https://[2001:db8::1]/":                 true,
		"a:b@c https://one.example/":                 true,
		"carol https://p.example/":                   true,
		"* https://hooks.example.com/":               false,
	} {
		user, raw, _ := strings.Cut(text, " ")
		u, err := ParseOutbound(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := h.Allow(user, u); got != want {
			t.Errorf("%s: allowed %v", text, got)
		}
	}
	if h.None() || !(CallbackHosts{}).None() {
		t.Error("none is wrong")
	}
	for _, bad := range []string{
		"", "alice", "=host", "alice=", "alice=*", "alice=*.", "alice=*.com", "alice=ftp://x.example", "alice=x.example/path", "alice=x.example?", "alice=u@x.example",
		"alice=X.example", "alice=https://*", "alice=a.*.example", "alice=x.example:0", "alice=2130706433", "alice=x.example#",
	} {
		if _, err := ParseCallbackHosts([]string{bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestCallbackGenerations(t *testing.T) {
	g, err := ParseCallbackGenerations([]string{"alice=2", "a:b@c=17"})
	if err != nil || g.Of("alice") != 2 || g.Of("a:b@c") != 17 || g.Of("bob") != 1 {
		t.Errorf("%v, %v", g, err)
	}
	for _, bad := range [][]string{{"alice"}, {"alice="}, {"=2"}, {"alice=0"}, {"alice=-1"}, {"alice=x"}, {"alice=2", "alice=3"}} {
		if _, err := ParseCallbackGenerations(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
