// Package dingtalk sends answers to DingTalk, by a message's session webhook or as
// the robot, and fetches images there. It takes no messages in.
//
// The official SDK (alibabacloud-go/dingtalk) makes none of these calls. It takes no
// context, does not tell whether a request was written, reads answers of any size,
// follows redirects with the token, takes a proxy of the environment, and keeps one
// client for each host of the process. For two JSON bodies that would be 1.8 MB and
// 14 modules. A test holds what we send against what the SDK sends.
package dingtalk

import (
	"crypto/x509"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"moltbot/workers/deliver/egress"
	"moltbot/workers/deliver/token"
)

// What a user sees while the answer is made.
const (
	SignReaction = "reaction"
	SignText     = "text"
)

const (
	// tokenEarly is DingTalk's own advice (facts).
	tokenEarly = 5 * time.Minute
	maxAnswer  = 64 << 10
	maxImage   = 10 << 20
	connect    = 5 * time.Second
	// expiryMargin is how long before its end a session webhook is no longer used.
	expiryMargin = time.Minute
)

// Options of a Client. The first four are required.
type Options struct {
	ClientID     string
	ClientSecret string
	RobotCode    string
	Endpoint     string // base URL of the API, without a path
	// Origins are those that a session webhook may have. Default: none.
	Origins []string
	// Resend sends again what may have arrived already.
	Resend  bool
	Timeout time.Duration // for the answer to one call; default 90s
	Sign    string        // SignReaction, SignText or anything else for none
	// Allow is where session webhooks and downloads may lead although it is no
	// public network.
	Allow    []netip.Prefix
	Resolver *net.Resolver  // for those; default: the system's
	Roots    *x509.CertPool // default: the system's
	// Refused counts session webhooks that were not called. Default: nobody does.
	Refused prometheus.Counter
	Log     zerolog.Logger
	Now     func() time.Time
}

// Client is one application at DingTalk.
type Client struct {
	o       Options
	calls   *http.Client // of the API
	hooks   *http.Client // of session webhooks
	files   *http.Client // of downloads
	origins []string
	tokens  *token.Source
}

// New makes a client. It calls nobody yet.
func New(o Options) (*Client, error) {
	if o.ClientID == "" || o.ClientSecret == "" || o.RobotCode == "" || o.Endpoint == "" {
		return nil, errors.New("dingtalk: client id, client secret, robot code and endpoint are required")
	}
	if o.Timeout <= 0 {
		o.Timeout = 90 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Refused == nil {
		o.Refused = prometheus.NewCounter(prometheus.CounterOpts{Name: "unused"})
	}
	o.Endpoint = strings.TrimRight(o.Endpoint, "/")
	c := &Client{o: o, origins: plainOrigins(o.Origins)}
	guarded := egress.Options{Allow: o.Allow, Connect: connect, Response: o.Timeout, MaxBody: maxAnswer, Resolver: o.Resolver, Roots: o.Roots}
	c.hooks = egress.New(guarded)
	guarded.MaxBody = maxImage
	c.files = egress.New(guarded)
	// The operator chose the endpoint, so that it may be at home.
	guarded.MaxBody, guarded.Allow = maxAnswer, []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	c.calls = egress.New(guarded)
	c.tokens = token.New(token.Options{Fetch: c.fetchToken, Early: tokenEarly, Now: o.Now})
	return c, nil
}

// Close ends the connections that wait for another call.
func (c *Client) Close() {
	for _, client := range []*http.Client{c.calls, c.hooks, c.files} {
		client.CloseIdleConnections()
	}
}

// Apps are the clients by the name of their application.
type Apps map[string]*Client

// Names lists the applications.
func (a Apps) Names() []string { return slices.Sorted(maps.Keys(a)) }

// Close closes all of them.
func (a Apps) Close() error {
	for _, c := range a {
		c.Close()
	}
	return nil
}
