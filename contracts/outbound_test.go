package contracts

import (
	"net/url"
	"strings"
	"testing"
)

func TestOutboundURLsThatEveryParserReadsAlike(t *testing.T) {
	for raw, origin := range map[string]string{
		"https://oapi.dingtalk.com/robot/sendBySession?session=ab%20c": "https://oapi.dingtalk.com",
		"https://example.com":             "https://example.com",
		"https://example.com:443/a/b/":    "https://example.com",
		"https://example.com:8443/?a=b":   "https://example.com:8443",
		"http://localhost:80/x":           "http://localhost",
		"http://127.0.0.1:9000/x":         "http://127.0.0.1:9000",
		"http://[::1]:9000/x":             "http://[::1]:9000",
		"https://xn--fiq228c.example/..a": "https://xn--fiq228c.example",
		"https://a_b.example/%E4%BD%A0":   "https://a_b.example",
	} {
		u, err := ParseOutbound(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
		} else if got := OutboundOrigin(u); got != origin {
			t.Errorf("%s: origin %s, want %s", raw, got, origin)
		}
	}
}

// Group S of the facts, and more of its kinds.
func TestOutboundURLsThatAreTricks(t *testing.T) {
	for _, raw := range []string{
		"", "x", "/path", "//host/path", "https:host", "https:/host", "https:///path", "https://", "HTTPS://example.com/", "ftp://example.com/",
		"https://oapi.dingtalk.com@169.254.169.254/", "https://user:pw@oapi.dingtalk.com/", "https://@oapi.dingtalk.com/",
		"https://169.254.169.254#@oapi.dingtalk.com/", "https://example.com/#", "https://example.com/a#b",
		`https://oapi.dingtalk.com\@evil.com/`, "https://oapi.dingtalk.com%00.evil.com/", "https://oapi.dingtalk.com%2eevil.com/", "https://oapi%2edingtalk.com/",
		"https://example.com:/", "https://example.com:0/", "https://example.com:08/", "https://example.com:65536/", "https://example.com:+1/", "https://example.com:a/",
		"https://2130706433/", "https://0x7f.1/", "https://0x7f000001/", "https://127.1/", "https://0177.0.0.1/", "https://127.0.0.1./", "https://1.2.3.4.5/",
		"https://[::ffff:169.254.169.254]/", "https://[::ffff:a9fe:a9fe]/", "https://[fe80::1%25eth0]/", "https://[0:0:0:0:0:0:0:1]/", "https://[::1/", "https://[]/", "https://::1/", "https://[::1]x/",
		"https://example.com./", "https://.example.com/", "https://exa..mple.com/", "https://-a.example/", "https://a-.example/", "https://Example.com/", "https://例子.example/", "https://ⓔxample.com/",
		"https://example.com/a b", "https://example.com/\ta", "https://example.com/a\n", "https://example.com/\x00", "https://example.com/\xff", " https://example.com/",
		"https://example.com/../a", "https://example.com/a/./b", "https://example.com/%2e%2E/a", "https://example.com/a%2Fb", "https://example.com/a%5cb", "https://example.com/a%00", "https://example.com/%zz",
		"https://example.com/" + strings.Repeat("a", 2048), "https://" + strings.Repeat("a.", 130) + "example/", "https://" + strings.Repeat("a", 64) + ".example/",
	} {
		if u, err := ParseOutbound(raw); err == nil {
			t.Errorf("%q was taken as %s", raw, u)
		} else if len(raw) > 12 && strings.Contains(err.Error(), raw[8:]) {
			t.Errorf("%q: the error quotes it: %v", raw, err)
		}
	}
}

func FuzzParseOutbound(f *testing.F) {
	for _, s := range []string{"https://example.com:8443/a?b=c", "http://[::1]:80/", "https://a@b/", "https://127.0.0.1/", "https://x%2e/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := ParseOutbound(raw)
		if err != nil {
			return
		}
		again, err := url.Parse(u.String())
		if err != nil || again.Host != u.Host || again.User != nil || again.Fragment != "" {
			t.Fatalf("%q: read again it is %v, %v", raw, again, err)
		}
		// What stands between the scheme and the first / or ? is the host, for any reader.
		_, rest, _ := strings.Cut(raw, "://")
		if end := strings.IndexAny(rest, "/?"); end >= 0 {
			rest = rest[:end]
		}
		if rest != u.Host {
			t.Fatalf("%q: the host is %q, not %q", raw, u.Host, rest)
		}
	})
}
