package upstream

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// connBuffer is the size of each of a connection's two buffers, half of what
// net/http takes by itself: with HTTP/1 every waiting call has a connection. A
// larger prompt or answer costs a system call or two more, and none with TLS,
// which has buffers of its own.
const connBuffer = 2 << 10

// newTransport shares nothing with http.DefaultTransport, which others may
// change.
func newTransport(o Options) http.RoundTripper {
	fresh := func() *http.Transport {
		return &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    10 * time.Second,
			MaxIdleConns:           o.KeepIdle,
			MaxIdleConnsPerHost:    o.KeepIdle,
			IdleConnTimeout:        o.IdleTimeout,
			MaxResponseHeaderBytes: 64 << 10,
			ReadBufferSize:         connBuffer,
			WriteBufferSize:        connBuffer,
		}
	}
	if o.MaxLifetime == 0 {
		return fresh()
	}
	return &renewing{fresh: fresh, life: o.MaxLifetime, now: o.Now}
}

// Doer sends a request once. Of http.Client it leaves out what we have no use
// for (cookies, redirects, time-outs of its own) and what every waiting call
// would hold of it. A redirect is an answer like any other: to follow it would
// carry the prompt, and to the same host the key, to wherever the answer says.
type Doer struct {
	http.RoundTripper
	query string // of the endpoint, added to each request; may be empty
	now   func() time.Time
}

// Do gives what is not 2xx as a Refusal, before an SDK reads such a body without
// a bound and loses the status if it is no JSON. Every other failure is a
// *url.Error, which tells it from an unusable answer.
func (o Doer) Do(req *http.Request) (*http.Response, error) {
	if o.query != "" {
		req.URL.RawQuery = strings.Trim(req.URL.RawQuery+"&"+o.query, "&")
	}
	res, err := o.RoundTrip(req)
	if err != nil {
		return nil, &url.Error{Op: req.Method, Err: err} // its address may hold a secret
	}
	if res.StatusCode/100 != 2 {
		return nil, readRefusal(res, o.now())
	}
	return res, nil
}

// CloseIdleConnections gives up what is unused now.
func (o Doer) CloseIdleConnections() {
	if t, ok := o.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// renewing ends the life of connections, which net/http does not: a transport
// that has reached life is followed by a new one with connections of its own.
// No connection gets a call when it is older than life; many get none before,
// since they end together. The first calls after that dial.
type renewing struct {
	fresh func() *http.Transport
	life  time.Duration
	now   func() time.Time

	mu  sync.Mutex
	cur *generation
}

type generation struct {
	transport *http.Transport
	born      time.Time
	retired   bool
}

// RoundTrip is that of the present transport.
func (r *renewing) RoundTrip(req *http.Request) (*http.Response, error) {
	g := r.present()
	defer r.done(g)
	return g.transport.RoundTrip(req)
}

func (r *renewing) present() *generation {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if r.cur != nil && now.Sub(r.cur.born) >= r.life {
		r.retire()
	}
	if r.cur == nil {
		r.cur = &generation{transport: r.fresh(), born: now}
	}
	return r.cur
}

// done closes once more what is unused, if g was retired during the call: a
// transport that is told to close its idle connections goes on closing those
// that become idle, but only until it is asked for one.
func (r *renewing) done(g *generation) {
	r.mu.Lock()
	retired := g.retired
	r.mu.Unlock()
	if retired {
		g.transport.CloseIdleConnections()
	}
}

func (r *renewing) retire() {
	r.cur.retired = true
	r.cur.transport.CloseIdleConnections()
	r.cur = nil
}

// CloseIdleConnections gives up what is unused now.
func (r *renewing) CloseIdleConnections() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cur != nil {
		r.cur.transport.CloseIdleConnections()
	}
}
