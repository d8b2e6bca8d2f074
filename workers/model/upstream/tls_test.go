package upstream_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"moltbot/workers/model"
	"moltbot/workers/model/upstream"
)

// M15: a server that cannot prove who it is gets nothing, and nobody goes on
// without TLS.
func TestUnprovenServer(t *testing.T) {
	var asked atomic.Int64
	hear := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	secure := httptest.NewUnstartedServer(hear)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	plain := httptest.NewServer(hear)
	defer plain.Close()

	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	trusting := func(change func(*tls.Config)) http.RoundTripper {
		c := &tls.Config{RootCAs: roots}
		change(c)
		dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, secure.Listener.Addr().String())
		}
		return &http.Transport{TLSClientConfig: c, DialContext: dial, DisableKeepAlives: true}
	}
	expired := func(c *tls.Config) {
		c.Time = func() time.Time { return secure.Certificate().NotAfter.Add(time.Hour) }
	}
	everyWay(t, func(t *testing.T, w way) {
		for name, o := range map[string]upstream.Options{
			"untrusted":  {Endpoint: secure.URL},
			"expired":    {Endpoint: secure.URL, Transport: trusting(expired)},
			"other name": {Endpoint: "https://other.test", Transport: trusting(func(*tls.Config) {})},
			"no TLS":     {Endpoint: "https://" + strings.TrimPrefix(plain.URL, "http://")},
		} {
			t.Run(name, func(t *testing.T) {
				_, err := w.connect(t, o).Complete(t.Context(), prompt("hi"))
				operator.check(t, model.Answer{}, err, "")
			})
		}
	})
	if n := asked.Load(); n != 0 {
		t.Errorf("%d requests went out", n)
	}
}
