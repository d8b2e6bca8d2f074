package config

import (
	"strings"
	"testing"
)

func TestLinkHosts(t *testing.T) {
	for _, tc := range []struct {
		hosts string // separated by spaces
		want  string // a piece of what is found wrong; empty: nothing
	}{
		{"docs.example.com *.example.com xn--fiqs8s.cn 10.0.0.7 localhost", ""},
		{"https://example.com/", `"https://example.com/" is not a host`},
		{"example.com:8443", "is not a host"},
		{"example.com/x", "is not a host"},
		{"user@example.com", "is not a host"},
		{"Example.com", "is not a host"},
		{"example.com.", "is not a host"},
		{"例子.cn", "is not a host"},
		{"*.com", "is not a host"},
		{"*", "is not a host"},
		{"a.*.example", "is not a host"},
		{"[::1]", "is not a host"},
		{"a.example b.example a.example", `"a.example" is named twice`},
	} {
		c := Default()
		c.Deliver.LinkHosts = strings.Fields(tc.hosts)
		var f findings
		f.outbound(c)
		got := ""
		for _, e := range f {
			got += e.text + "\n"
		}
		if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: found %q, want %q", tc.hosts, got, tc.want)
		}
	}
}
