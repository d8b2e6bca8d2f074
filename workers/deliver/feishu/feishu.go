// Package feishu sends answers to Feishu and Lark with the official SDK, and asks
// there for images and for who the bot is. It takes no messages in.
package feishu

import (
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	larkcore "github.com/larksuite/oapi-sdk-go/v3/core"

	"moltbot/workers/deliver/egress"
	"moltbot/workers/deliver/token"
)

// What a user sees while the answer is made.
const (
	SignReaction = "reaction"
	SignText     = "text"
)

const (
	// tokenEarly is what the official SDKs leave unused of a token (facts).
	tokenEarly = 3 * time.Minute
	maxAnswer  = 1 << 20
	maxImage   = 10 << 20
)

// Options of a Client. AppID, AppSecret and Endpoint are required.
type Options struct {
	AppID     string
	AppSecret string
	Endpoint  string        // base URL, without a path
	Timeout   time.Duration // for the answer to one call; default 90s
	Sign      string        // SignReaction, SignText or anything else for none
	Emoji     string        // of SignReaction; default OnIt
	// Settle is how long Feishu gets for a message of which it says that it is
	// still being sent. Default: 2s.
	Settle time.Duration
	Now    func() time.Time
}

// Client is one application at Feishu.
type Client struct {
	o       Options
	calls   *larkcore.Config
	files   *larkcore.Config
	clients []*http.Client
	tokens  *token.Source
}

// New makes a client. It calls nobody yet.
func New(o Options) (*Client, error) {
	if o.AppID == "" || o.AppSecret == "" || o.Endpoint == "" {
		return nil, errors.New("feishu: app id, app secret and endpoint are required")
	}
	if o.Timeout <= 0 {
		o.Timeout = 90 * time.Second
	}
	if o.Emoji == "" {
		o.Emoji = "OnIt"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Settle <= 0 {
		o.Settle = 2 * time.Second
	}
	c := &Client{o: o}
	c.calls, c.files = c.config(guard{}, maxAnswer), c.config(guard{binary: true}, maxImage)
	c.tokens = token.New(token.Options{Fetch: c.fetchToken, Early: tokenEarly, Now: o.Now})
	return c, nil
}

// Close ends the connections that wait for another call.
func (c *Client) Close() {
	for _, client := range c.clients {
		client.CloseIdleConnections()
	}
}

// config is what the SDK goes by. Its own token cache is off: it belongs to all
// clients of a process together, and fetches a token once for each call that finds
// none. Its own HTTP client would read answers of any size.
func (c *Client) config(g guard, limit int64) *larkcore.Config {
	g.client = egress.New(egress.Options{Allow: anywhere(), Response: c.o.Timeout, MaxBody: limit})
	c.clients = append(c.clients, g.client)
	return &larkcore.Config{
		BaseUrl: strings.TrimRight(c.o.Endpoint, "/"), AppId: c.o.AppID, AppSecret: c.o.AppSecret,
		AppType: larkcore.AppTypeSelfBuilt, HttpClient: g, Logger: silent{}, Serializable: plainJSON{},
	}
}

// anywhere: the operator chose the endpoint, so that it may be at home.
func anywhere() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
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
