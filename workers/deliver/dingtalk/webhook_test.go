package dingtalk

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/net/dns/dnsmessage"
)

func official() []string { return []string{"https://oapi.dingtalk.com", "https://api.dingtalk.com"} }

// refusedURLs are forms in which something else than DingTalk might be called.
func refusedURLs() []string {
	const path = "/robot/sendBySession?session=s"
	return []string{
		"https://oapi.dingtalk.com.evil.com" + path, "https://evil.com/oapi.dingtalk.com" + path, "https://xoapi.dingtalk.com" + path,
		"https://dingtalk.com" + path, "https://evil.dingtalk.com" + path, "https://oapi.dingtalk.com." + path, "https://oapi-dingtalk.com" + path,
		"https://oapi.dingtalk.com@169.254.169.254" + path, "https://user:pw@oapi.dingtalk.com" + path, "https://@oapi.dingtalk.com" + path, "https://:@oapi.dingtalk.com" + path,
		"https://169.254.169.254#@oapi.dingtalk.com" + path, "https://oapi.dingtalk.com" + path + "#x", "https://oapi.dingtalk.com#@evil.com" + path,
		`https://oapi.dingtalk.com\@evil.com` + path, `https://oapi.dingtalk.com\.evil.com` + path, "https://oapi.dingtalk.com%00.evil.com" + path, "https://oapi%2edingtalk.com" + path,
		"https://oapi.dingtalk.com%2eevil.com" + path, "https://oapi.dingtalk.com\t" + path, "https://oapi.dingtalk.com\r\nHost: evil" + path, " https://oapi.dingtalk.com" + path,
		"https://oapi.dingtalk.com:6379" + path, "https://oapi.dingtalk.com:443" + path, "https://oapi.dingtalk.com:" + path, "http://oapi.dingtalk.com" + path,
		"//oapi.dingtalk.com" + path, "https:oapi.dingtalk.com" + path, "https:/oapi.dingtalk.com" + path, "https:///oapi.dingtalk.com" + path, "oapi.dingtalk.com" + path,
		"HTTPS://oapi.dingtalk.com" + path, "https://OAPI.dingtalk.com" + path, "ftp://oapi.dingtalk.com" + path, "gopher://oapi.dingtalk.com" + path, "file:///robot/sendBySession", "javascript:alert(1)",
		"https://[::1]" + path, "https://2130706433" + path, "https://0x7f.1" + path, "https://127.1" + path, "https://0177.0.0.1" + path, "https://[::ffff:169.254.169.254]" + path, "https://169.254.169.254" + path, "https://localhost" + path,
		"https://оapi.dingtalk.com" + path, "https://oapi.dingtalk.com\u3002evil.com" + path, "https://oapi。dingtalk.com" + path,
		"https://oapi.dingtalk.com", "https://oapi.dingtalk.com/", "https://oapi.dingtalk.com/robot/send?access_token=x", "https://oapi.dingtalk.com/robot/sendBySession/", "https://oapi.dingtalk.com//robot/sendBySession",
		"https://oapi.dingtalk.com/robot/../robot/sendBySession", "https://oapi.dingtalk.com/robot/sendBySession/../../gettoken", "https://oapi.dingtalk.com/robot/%73endBySession", "https://oapi.dingtalk.com/robot%2fsendBySession",
		"https://oapi.dingtalk.com/robot/sendBySession;x", "https://oapi.dingtalk.com/Robot/sendBySession", "https://oapi.dingtalk.com/robot/sendBySession?a=%zz", "https://oapi.dingtalk.com/robot/sendBySession?a;b",
		"", "?", "https://", strings.Repeat("x", 5000), "https://oapi.dingtalk.com/robot/sendBySession?session=" + strings.Repeat("x", 5000),
	}
}

func TestTheRuleForSessionWebhooks(t *testing.T) {
	origins := plainOrigins(official())
	for _, raw := range refusedURLs() {
		to, err := sessionURL(raw, origins)
		if err == nil {
			t.Errorf("%q would be called as %q", raw, to)
		} else if raw != "" && raw != "?" && strings.Contains(err.Error(), raw) {
			t.Errorf("the error quotes the URL: %v", err)
		}
	}
	for _, raw := range []string{
		"https://oapi.dingtalk.com/robot/sendBySession?session=6b2c0d", "https://api.dingtalk.com/robot/sendBySession?session=a%2Fb&x=1",
	} {
		if to, err := sessionURL(raw, origins); err != nil || to != raw {
			t.Errorf("%q: %q, %v", raw, to, err)
		}
	}
}

func TestConfiguredOrigins(t *testing.T) {
	const path = "/robot/sendBySession?session=s"
	origins := plainOrigins([]string{"https://proxy.example:8443/", "http://10.0.0.1", "https://x.example/path", "%%", "https://y.example?q", "https://z.example:443"})
	for raw, want := range map[string]bool{
		"https://proxy.example:8443": true, "https://proxy.example": false, "https://proxy.example:443": false, "http://proxy.example:8443": false,
		"http://10.0.0.1": true, "https://10.0.0.1": false, "https://x.example": false, "https://y.example": false, "https://z.example": true,
		"https://oapi.dingtalk.com": false,
	} {
		if _, err := sessionURL(raw+path, origins); (err == nil) != want {
			t.Errorf("%s: %v, want %v", raw, err, want)
		}
	}
	if _, err := sessionURL("https://oapi.dingtalk.com"+path, nil); err == nil {
		t.Error("no origins allow one")
	}
}

// A refused session webhook is told of and counted, the answer goes by the robot.
func TestARefusedSessionWebhook(t *testing.T) {
	for _, raw := range []string{"https://oapi.dingtalk.com.evil.com/robot/sendBySession?session=" + session, "http://169.254.169.254/?" + session} {
		p := newPlatform(t)
		refused := prometheus.NewCounter(prometheus.CounterOpts{Name: "refused"})
		a := p.inGroup()
		a.Origin.Webhook = raw
		if id, err := send(t, p.client(Options{Refused: refused}), a); err != nil || id != "pqk" || p.calls() != pathGroup {
			t.Error(id, err, p.calls())
		}
		if testutil.ToFloat64(refused) != 1 || !strings.Contains(p.log.String(), "forged") {
			t.Errorf("nobody was told: %s", p.log.String())
		}
		clean(t, p.log.String())
	}
}

// The name is right and leads inside. What looks at the name only would call it.
func TestANameThatLeadsInside(t *testing.T) {
	for _, to := range []string{"127.0.0.1", "169.254.169.254", "10.0.0.1"} {
		p := newPlatform(t)
		refused := prometheus.NewCounter(prometheus.CounterOpts{Name: "refused"})
		c := p.client(Options{Refused: refused, Origins: official(), Resolver: resolver(t, netip.MustParseAddr(to))})
		a := p.inGroup()
		a.Origin.Webhook = "https://oapi.dingtalk.com/robot/sendBySession?session=" + session
		if id, err := send(t, c, a); err != nil || id != "pqk" || p.calls() != pathGroup {
			t.Error(id, err, p.calls())
		}
		if testutil.ToFloat64(refused) != 1 {
			t.Error("it was not counted")
		}
		clean(t, p.log.String())
	}
}

// resolver gives every name the same address.
func resolver(t *testing.T, a netip.Addr) *net.Resolver {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = conn.Close(); <-done })
	go func() {
		defer close(done)
		b := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(resolved(b[:n], a), from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "udp4", conn.LocalAddr().String())
	}}
}

func resolved(question []byte, a netip.Addr) []byte {
	var m dnsmessage.Message
	if m.Unpack(question) != nil || len(m.Questions) == 0 {
		return nil
	}
	q := m.Questions[0]
	m = dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true}, Questions: m.Questions}
	if q.Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}, Body: &dnsmessage.AResource{A: a.As4()},
		}}
	}
	b, _ := m.Pack()
	return b
}

func FuzzSessionURL(f *testing.F) {
	for _, raw := range refusedURLs() {
		f.Add(raw)
	}
	f.Add("https://oapi.dingtalk.com/robot/sendBySession?session=6b2c0d")
	origins := plainOrigins(official())
	f.Fuzz(func(t *testing.T, raw string) {
		to, err := sessionURL(raw, origins)
		if err != nil {
			return
		}
		u, err := url.Parse(to)
		if err != nil || u.Scheme != "https" || u.Host != "oapi.dingtalk.com" && u.Host != "api.dingtalk.com" || u.Path != sessionPath || u.User != nil || u.Fragment != "" {
			t.Errorf("%q would be called as %q", raw, to)
		}
		if strings.ContainsAny(to, " \t\r\n\\@#") {
			t.Errorf("%q was let through", to)
		}
	})
}
