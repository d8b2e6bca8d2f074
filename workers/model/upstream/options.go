package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// Options are the settings of one provider.
type Options struct {
	// Provider names it in results, logs and metrics. Required. "openai" and
	// "anthropic", each without an endpoint, are those themselves.
	Provider string
	// Endpoint is a base URL such as https://host/v1, or the full URL of a call.
	// Required unless Provider is one of the two. A query, such as Azure's
	// api-version, is kept.
	Endpoint string
	// Keys are the API keys, which take turns. One is required for the two; a
	// local server may do without.
	Keys []string
	// Model is asked for unless the request names one. Default: a small one of the
	// two's, else the provider's name.
	Model string
	// MaxTokens caps an answer whose request does not. Default: 0, the
	// provider's own; Anthropic wants one and gets 1024.
	MaxTokens int
	// Temperature is sent when set and the request has none. Default: nil, the
	// provider's own.
	Temperature *float64
	// Stream asks for the answer in pieces. A provider that answers in one
	// piece all the same is understood.
	Stream bool
	// FirstToken is the longest wait for the first token; for an answer in one
	// piece, for its first byte. Default: 30s.
	FirstToken time.Duration
	// Idle is the longest pause after that. Default: 20s.
	Idle time.Duration
	// Total is the longest time for all of it. Default: 2m.
	Total time.Duration
	// MaxResponse bounds a response in bytes, after decompression. Default: 8 MiB.
	MaxResponse int64
	// KeepIdle is how many unused connections are kept for the next calls. It
	// bounds no calls: one that had to wait for a connection would spend its
	// FirstToken waiting. How many run at once is for the caller. Default: 64.
	KeepIdle int
	// IdleTimeout is how long they are kept. Default: 90s.
	IdleTimeout time.Duration
	// MaxLifetime is how long a connection gets new calls; those that run are not
	// disturbed. Default: 0, as long as it works.
	MaxLifetime time.Duration
	// Transport replaces our own, for tests.
	Transport http.RoundTripper
	// Now is the clock of keys that are set aside and of Retry-After dates.
	// Default: time.Now.
	Now func() time.Time
	// Log is told when a key is refused. Default: nobody is.
	Log zerolog.Logger
}

// resolve fills in the defaults and reports every mistake at once.
func (o Options) resolve(p Protocol) (Options, endpoint, error) {
	var errs []error
	if o.Provider == "" {
		errs = append(errs, errors.New("provider: missing"))
	}
	if o.Endpoint == "" && o.Provider == p.Home {
		o.Endpoint = p.Base
		if len(o.Keys) == 0 {
			errs = append(errs, errors.New("api key: missing"))
		}
	}
	at, err := parseEndpoint(o.Endpoint, p)
	if err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, checkKeys(o.Keys)...)
	if o.Temperature != nil && !(*o.Temperature >= 0 && *o.Temperature <= 2) {
		errs = append(errs, fmt.Errorf("temperature: %g is not in 0..2", *o.Temperature))
	}
	if o.MaxTokens < 0 || o.FirstToken < 0 || o.Idle < 0 || o.Total < 0 || o.MaxResponse < 0 ||
		o.KeepIdle < 0 || o.IdleTimeout < 0 || o.MaxLifetime < 0 {
		errs = append(errs, errors.New("a limit is negative"))
	}
	o.fill(p)
	return o, at, errors.Join(errs...)
}

// checkKeys names a key by its place, never by what it says.
func checkKeys(keys []string) (errs []error) {
	for i, k := range keys {
		switch {
		case k == "":
			errs = append(errs, fmt.Errorf("api key %d: is empty", i+1))
		case strings.ContainsFunc(k, func(c rune) bool { return c <= ' ' || c > '~' }):
			errs = append(errs, fmt.Errorf("api key %d: holds a space or a character that a header cannot carry", i+1))
		case slices.Contains(keys[:i], k):
			errs = append(errs, fmt.Errorf("api key %d: stands there twice", i+1))
		}
	}
	return errs
}

func (o *Options) fill(p Protocol) {
	if o.Model == "" {
		o.Model = o.Provider
		if o.Provider == p.Home {
			o.Model = p.Model
		}
	}
	orDefault(&o.FirstToken, 30*time.Second)
	orDefault(&o.Idle, 20*time.Second)
	orDefault(&o.Total, 2*time.Minute)
	orDefault(&o.MaxResponse, 8<<20)
	if o.Now == nil {
		o.Now = time.Now
	}
	orDefault(&o.KeepIdle, 64)
	orDefault(&o.IdleTimeout, 90*time.Second)
	if o.Transport == nil {
		o.Transport = newTransport(*o)
	}
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}
