package contracts

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

const (
	maxOutboundURL = 2048
	maxHost        = 253
	maxLabel       = 63
)

// ParseOutbound reads a URL that somebody else chose and that we are to call. It
// takes only what every parser reads alike: https or http, a plain host with or
// without a port, and behind it path and query. Errors say the reason, never the URL.
func ParseOutbound(raw string) (*url.URL, error) {
	if len(raw) > maxOutboundURL {
		return nil, fmt.Errorf("the URL is longer than %d bytes", maxOutboundURL)
	}
	if i := strings.IndexFunc(raw, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\\\"<>^`{|}", r) }); i >= 0 {
		return nil, fmt.Errorf("the URL has a character at byte %d that must be encoded", i)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("the URL cannot be parsed") // the cause quotes it
	}
	switch {
	case !strings.HasPrefix(raw, "https://") && !strings.HasPrefix(raw, "http://"):
		return nil, errors.New("the URL must begin with https:// or http://")
	case u.User != nil || u.Opaque != "":
		return nil, errors.New("the URL must not hold a user or a password")
	case strings.Contains(raw, "#"):
		return nil, errors.New("the URL must not have a fragment")
	case !isPlainPath(u.EscapedPath()):
		return nil, errors.New("the URL's path has . or .. segments, or encoded dots, slashes or control characters")
	}
	if err := checkAuthority(u.Host); err != nil {
		return nil, err
	}
	return u, nil
}

// checkAuthority takes host and host:port as everybody writes them.
func checkAuthority(authority string) error {
	host, port := splitAuthority(authority)
	if port != "" {
		if n, err := strconv.ParseUint(port[1:], 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port[1:] {
			return errors.New("the URL's port is no port")
		}
	}
	if inner, bracketed := strings.CutPrefix(host, "["); bracketed {
		a, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil || !a.Is6() || a.Is4In6() || a.Zone() != "" || "["+a.String()+"]" != host {
			return errors.New("the URL's address is not written plainly")
		}
		return nil
	}
	return checkHost(host)
}

// splitAuthority gives the host and, with its colon, the port.
func splitAuthority(authority string) (host, port string) {
	if i := strings.LastIndexByte(authority, ':'); i > strings.LastIndexByte(authority, ']') {
		return authority[:i], authority[i:]
	}
	return authority, ""
}

// checkHost takes names and IPv4 addresses. A name whose last label is a number is
// an address to some resolvers: 2130706433 and 0x7f.1 are both 127.0.0.1.
func checkHost(host string) error {
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if !isLabel(label) {
			return errors.New("the URL's host is no plain lower-case name")
		}
	}
	if last := labels[len(labels)-1]; last[0] >= '0' && last[0] <= '9' {
		if a, err := netip.ParseAddr(host); err != nil || a.String() != host {
			return errors.New("the URL's address is not written plainly")
		}
	}
	if len(host) > maxHost {
		return errors.New("the URL's host is too long")
	}
	return nil
}

func isLabel(label string) bool {
	if label == "" || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(label, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// isPlainPath refuses what a proxy may read as another path.
func isPlainPath(path string) bool {
	lower := strings.ToLower(path)
	for _, trick := range []string{"%2e", "%2f", "%5c", "%0", "%1", "%7f"} {
		if strings.Contains(lower, trick) {
			return false
		}
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// OutboundOrigin gives scheme, host and port of a URL of ParseOutbound. A port that
// the scheme implies is not in it.
func OutboundOrigin(u *url.URL) string {
	host, port := splitAuthority(u.Host)
	if u.Scheme == "https" && port == ":443" || u.Scheme == "http" && port == ":80" {
		port = ""
	}
	return u.Scheme + "://" + host + port
}
