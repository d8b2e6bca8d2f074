package model

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Options are the settings of one provider.
type Options struct {
	// Provider names it in results, logs and metrics. Required. "openai"
	// without an endpoint is OpenAI itself.
	Provider string
	// Endpoint is a base URL such as https://host/v1, or the full URL that ends
	// in /chat/completions. Required unless Provider is "openai". A query, such
	// as Azure's api-version, is kept.
	Endpoint string
	// APIKey is sent as a bearer token. Required for OpenAI itself; a local
	// server may do without.
	APIKey string
	// Model is asked for unless the request names one. Default: gpt-4o-mini for
	// "openai", else the provider's name.
	Model string
	// MaxTokens caps an answer. Default: 0, the provider's own.
	MaxTokens int
	// Temperature is sent when set. Default: nil, the provider's own.
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
	// Now is the clock Retry-After dates are measured with. Default: time.Now.
	Now func() time.Time
}

// resolve fills in the defaults and reports every mistake at once.
func (o Options) resolve() (Options, endpoint, error) {
	var errs []error
	if o.Provider == "" {
		errs = append(errs, errors.New("provider: missing"))
	}
	if o.Endpoint == "" && o.Provider == openAIProvider {
		o.Endpoint = openAIBase
		if o.APIKey == "" {
			errs = append(errs, errors.New("api key: missing"))
		}
	}
	at, err := parseEndpoint(o.Endpoint)
	if err != nil {
		errs = append(errs, err)
	}
	if strings.ContainsFunc(o.APIKey, func(c rune) bool { return c <= ' ' || c > '~' }) {
		errs = append(errs, errors.New("api key: holds a space or a character that a header cannot carry"))
	}
	if o.Temperature != nil && !(*o.Temperature >= 0 && *o.Temperature <= 2) {
		errs = append(errs, fmt.Errorf("temperature: %g is not in 0..2", *o.Temperature))
	}
	if o.MaxTokens < 0 || o.FirstToken < 0 || o.Idle < 0 || o.Total < 0 || o.MaxResponse < 0 ||
		o.KeepIdle < 0 || o.IdleTimeout < 0 || o.MaxLifetime < 0 {
		errs = append(errs, errors.New("a limit is negative"))
	}
	o.fill()
	return o, at, errors.Join(errs...)
}

func (o *Options) fill() {
	if o.Model == "" {
		o.Model = o.Provider
		if o.Provider == openAIProvider {
			o.Model = "gpt-4o-mini"
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
