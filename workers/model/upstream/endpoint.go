package upstream

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// endpoint is a provider's address: base is what the path of a call is appended
// to, query what every call carries (Azure's api-version).
type endpoint struct {
	base  string
	query url.Values
	home  bool // it is the protocol's own
}

// parseEndpoint takes a base URL or the full URL of a call.
func parseEndpoint(raw string, p Protocol) (endpoint, error) {
	u, err := url.Parse(raw)
	if err != nil {
		// The parser's error repeats the text, and the text may hold a password.
		return endpoint{}, errors.New("endpoint: not a URL")
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return endpoint{}, errors.New("endpoint: must be http or https")
	case u.Hostname() == "":
		return endpoint{}, errors.New("endpoint: has no host")
	case u.User != nil:
		return endpoint{}, errors.New("endpoint: must not hold credentials")
	case u.Fragment != "":
		return endpoint{}, errors.New("endpoint: must not hold a fragment")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return endpoint{}, fmt.Errorf("endpoint: query: %w", err)
	}
	path := strings.TrimRight(u.EscapedPath(), "/")
	path = strings.TrimRight(strings.TrimSuffix(path, p.Path), "/")
	if !strings.HasSuffix(path, p.Root) {
		path += p.Root
	}
	base := u.Scheme + "://" + u.Host + path
	return endpoint{base: base + "/", query: query, home: strings.HasPrefix(base, p.Base)}, nil
}
