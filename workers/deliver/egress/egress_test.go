package egress_test

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"

	"moltbot/workers/deliver/egress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func TestAddressesThatAreNotDialled(t *testing.T) {
	control := egress.Guard(nil)
	for _, a := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "169.254.169.254", "169.254.170.2", "172.16.0.1",
		"172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250",
		"240.0.0.1", "255.255.255.255", "168.63.129.16",
		"::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:7f00:1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1",
		"100::1", "2001::1", "2001:db8::1", "2001:10::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "3fff::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "5f00::1",
		"2606:4700::1111%eth0",
	} {
		network := "tcp4"
		if strings.Contains(a, ":") {
			network = "tcp6"
		}
		if err := control(network, net.JoinHostPort(a, "443"), nil); !errors.Is(err, egress.ErrAddress) {
			t.Errorf("%s: %v, want a refusal", a, err)
		}
	}
	for _, a := range []string{"8.8.8.8:443", "1.1.1.1:8443", "[2606:4700::1111]:443", "[::ffff:8.8.8.8]:443"} {
		if err := control("tcp4", a, nil); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
	for _, n := range []string{"udp4", "unix", "ip4", "tcp"} {
		if err := control(n, "8.8.8.8:443", nil); err == nil {
			t.Errorf("network %s was dialled", n)
		}
	}
}

func TestAllowedNetworksAreDialled(t *testing.T) {
	control := egress.Guard([]netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd12::/16")})
	for address, want := range map[string]bool{
		"10.1.2.3:80": true, "[::ffff:10.1.2.3]:80": true, "[fd12::1]:80": true,
		"10.2.0.1:80": false, "127.0.0.1:80": false, "[fd13::1]:80": false, "169.254.169.254:80": false,
	} {
		if err := control("tcp4", address, nil); (err == nil) != want {
			t.Errorf("%s: %v, want allowed %v", address, err, want)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	var inside atomic.Bool
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { inside.Store(true) }))
	defer target.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, target.URL, http.StatusFound)
	}))
	defer server.Close()
	client := egress.New(egress.Options{Allow: loopback})
	defer client.CloseIdleConnections()
	resp, err := client.Post(server.URL, "application/json", strings.NewReader("{}"))
	if err != nil || resp.StatusCode != http.StatusFound {
		t.Fatalf("%v, %v", resp, err)
	}
	resp.Body.Close()
	if inside.Load() {
		t.Error("the redirect was followed")
	}
}

func TestNoProxyOfTheEnvironment(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	t.Setenv("NO_PROXY", "")
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	client := egress.New(egress.Options{Allow: loopback})
	defer client.CloseIdleConnections()
	resp, err := client.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

func TestAnswersAreLimited(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", len(r.URL.Path)*10))
	}))
	defer server.Close()
	client := egress.New(egress.Options{Allow: loopback, MaxBody: 100})
	defer client.CloseIdleConnections()
	for path, want := range map[string]error{"/345678": nil, "/3456789ab": nil, "/3456789abc": egress.ErrTooLarge, "/" + strings.Repeat("x", 5000): egress.ErrTooLarge} {
		resp, err := client.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if !errors.Is(err, want) || len(got) > 110 || want == nil && len(got) != len(path)*10 {
			t.Errorf("%d bytes asked: %d bytes, %v", len(path)*10, len(got), err)
		}
	}
}

// A name that was good when somebody looked leads inside when it is dialled.
func TestNamesThatLeadInsideAreRefusedWhenDialled(t *testing.T) {
	var reached atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	var asked atomic.Int32
	resolver := nameServer(t, func() netip.Addr {
		if asked.Add(1) == 1 {
			return netip.MustParseAddr("93.184.216.34")
		}
		return netip.MustParseAddr("127.0.0.1")
	})
	if _, err := resolver.LookupNetIP(context.Background(), "ip4", "rebind.example"); err != nil {
		t.Fatal(err)
	}
	client := egress.New(egress.Options{Resolver: resolver})
	var written egress.Written
	req, _ := http.NewRequestWithContext(written.Follow(context.Background()), http.MethodPost, "http://rebind.example:"+port+"/?k=s3cret", strings.NewReader("{}"))
	_, err := client.Do(req)
	if !errors.Is(err, egress.ErrAddress) || reached.Load() || written.May() {
		t.Fatalf("%v; reached %v, written %v", err, reached.Load(), written.May())
	}
	if text := egress.Plain(err).Error(); strings.Contains(text, "s3cret") || !errors.Is(egress.Plain(err), egress.ErrAddress) {
		t.Errorf("the plain error is %s", text)
	}
}

func TestCertificatesMustFit(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	resolver := nameServer(t, func() netip.Addr { return netip.MustParseAddr("127.0.0.1") })
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	for _, c := range []struct {
		host  string
		roots *x509.CertPool
		good  bool
	}{{"example.com", roots, true}, {"other.test", roots, false}, {"example.com", nil, false}} {
		client := egress.New(egress.Options{Allow: loopback, Resolver: resolver, Roots: c.roots})
		var written egress.Written
		req, _ := http.NewRequestWithContext(written.Follow(context.Background()), http.MethodPost, "https://"+c.host+":"+port, strings.NewReader("{}"))
		resp, err := client.Do(req)
		if (err == nil) != c.good || written.May() != c.good {
			t.Errorf("%s: %v, written %v", c.host, err, written.May())
		}
		if err == nil {
			resp.Body.Close()
		}
		client.CloseIdleConnections()
	}
}

// nameServer gives a resolver that asks answer for every IPv4 address.
func nameServer(t *testing.T, answer func() netip.Addr) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			m = dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true}, Questions: m.Questions}
			if q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
					Body:   &dnsmessage.AResource{A: answer().As4()},
				}}
			}
			reply, _ := m.Pack()
			_, _ = conn.WriteTo(reply, from)
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "udp4", conn.LocalAddr().String())
	}}
}

// What the other side writes instead of HTTP stays out of our errors: it may hold
// what we sent, or whatever somebody wants to have in a log.
func TestErrorsQuoteNoAnswer(t *testing.T) {
	for name, raw := range map[string]string{
		"no HTTP": "s3cret %s\r\n\r\n", "header": "HTTP/1.1 200 OK\r\ns3cret\r\n\r\n", "length": "HTTP/1.1 200 OK\r\nContent-Length: s3cret\r\n\r\n",
		"coding": "HTTP/1.1 200 OK\r\nTransfer-Encoding: s3cret\r\n\r\n", "version": "HTTP/s3cret 200 OK\r\n\r\n", "status": "HTTP/1.1 s3cret\r\n\r\n",
		"long": strings.Repeat("s3cret", 10_000), "nothing": "",
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, raw)
		}()
		client := egress.New(egress.Options{Allow: loopback})
		resp, err := client.Post("http://"+l.Addr().String()+"/x?k=s3cret", "text/plain", strings.NewReader("{}"))
		if err == nil {
			resp.Body.Close()
			t.Errorf("%s: an answer", name)
		} else if text := egress.Plain(err).Error(); strings.Contains(text, "s3cret") || len(text) > 300 {
			t.Errorf("%s: %.200s", name, text)
		}
		_ = l.Close()
		<-done
	}
}
