// Package egress makes the calls to addresses that others chose: it refuses inner
// networks when it dials, and never follows a redirect.
package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// The errors of a guarded client; they come wrapped.
var (
	// ErrAddress: a name led to an address that must not be called.
	ErrAddress = errors.New("the address is in a network that is not called")
	// ErrTooLarge: the answer is larger than MaxBody.
	ErrTooLarge = errors.New("the answer is too large")
)

// Options of a client. The zero value is usable.
type Options struct {
	// Allow is what may be called although it is private, loopback or the like.
	Allow    []netip.Prefix
	Connect  time.Duration // for connection and TLS; default 5s
	Response time.Duration // for the whole of the answer; default 15s
	MaxBody  int64         // of an answer; default 64 KiB

	Resolver *net.Resolver  // default: the system's
	Roots    *x509.CertPool // default: the system's
}

// New makes a client that takes no proxy of the environment, no cookie and no
// redirect, and dials no address that is not public or in Allow. The address is
// checked after the name was resolved, so the name may say what it likes.
// It speaks HTTP/1.1: there Written can tell what became of a request.
func New(o Options) *http.Client {
	setDefaults(&o)
	dialer := &net.Dialer{Timeout: o.Connect, KeepAlive: 30 * time.Second, Resolver: o.Resolver, Control: Guard(o.Allow)}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Client{
		Transport: &limited{max: o.MaxBody, next: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.Roots},
			TLSHandshakeTimeout:    o.Connect,
			ResponseHeaderTimeout:  o.Response,
			MaxResponseHeaderBytes: 64 << 10,
			MaxIdleConns:           128,
			MaxIdleConnsPerHost:    16,
			IdleConnTimeout:        time.Minute,
			Protocols:              protocols,
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       o.Connect + o.Response,
	}
}

func setDefaults(o *Options) {
	if o.Connect <= 0 {
		o.Connect = 5 * time.Second
	}
	if o.Response <= 0 {
		o.Response = 15 * time.Second
	}
	if o.MaxBody <= 0 {
		o.MaxBody = 64 << 10
	}
}

// azure is the one metadata address of a cloud that is public.
const azure = "168.63.129.16/32"

// Guard gives the Control of a net.Dialer that refuses every special-purpose
// network, and addresses that lead into one (mapped, NAT64, 6to4, Teredo), but for
// those in allow.
func Guard(allow []netip.Prefix) func(network, address string, _ syscall.RawConn) error {
	guardian := ssrf.New(ssrf.WithAnyPort(), ssrf.WithAnyNetwork(), ssrf.WithDeniedV4Prefixes(netip.MustParsePrefix(azure)))
	return func(network, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil || network != "tcp4" && network != "tcp6" {
			return fmt.Errorf("dial: %w", ErrAddress)
		}
		a := to.Addr().Unmap()
		if slices.ContainsFunc(allow, func(p netip.Prefix) bool { return p.Contains(a) }) {
			return nil
		}
		if err := guardian.SafeAddr(a); err != nil {
			return fmt.Errorf("dial %s: %w", a, ErrAddress)
		}
		return nil
	}
}

// limited ends an answer that is larger than max.
type limited struct {
	max  int64
	next http.RoundTripper
}

func (l *limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = &body{ReadCloser: resp.Body, left: l.max}
	return resp, nil
}

// CloseIdleConnections is called by the method of http.Client.
func (l *limited) CloseIdleConnections() {
	if t, ok := l.next.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}

type body struct {
	io.ReadCloser
	left int64
}

func (b *body) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, ErrTooLarge
	}
	if int64(len(p)) > b.left+1 { // one more shows that there is more
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n - 1, ErrTooLarge
	}
	return n, err
}

// Plain takes the URL out of an error of http.Client, because a URL can be a secret,
// and what it quotes of an answer that is no HTTP.
func Plain(err error) error {
	var u *url.Error
	if !errors.As(err, &u) {
		return err
	}
	text, _, _ := strings.Cut(u.Err.Error(), `"`)
	p := &plain{text: "call: " + text[:min(len(text), maxText)], err: u.Err}
	if u.Timeout() && !errors.Is(u.Err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", p, context.DeadlineExceeded)
	}
	return p
}

// maxText is what an error says at most: certificates name as many hosts as they like.
const maxText = 200

type plain struct {
	text string
	err  error
}

func (p *plain) Error() string { return p.text }

func (p *plain) Unwrap() error { return p.err }
