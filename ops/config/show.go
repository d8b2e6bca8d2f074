package config

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/knadh/koanf/maps"
	"go.yaml.in/yaml/v3"
)

const mask = "***"

// Show prints the settings in force as "yaml" or "json", secrets masked.
func (c Config) Show(w io.Writer, format string) error {
	flat := map[string]any{}
	for _, s := range newBook(c).settings {
		flat[s.path] = shown(s)
	}
	var text []byte
	var err error
	switch format {
	case "yaml":
		text, err = yaml.Marshal(maps.Unflatten(flat, "."))
	case "json":
		text, err = json.MarshalIndent(maps.Unflatten(flat, "."), "", "  ")
		text = append(text, '\n')
	default:
		return fmt.Errorf("show configuration: format %q is neither yaml nor json", format)
	}
	if err != nil {
		return fmt.Errorf("show configuration: %w", err)
	}
	if _, err := w.Write(text); err != nil {
		return fmt.Errorf("show configuration: %w", err)
	}
	return nil
}

func shown(s setting) any {
	switch value := s.value.(type) {
	case time.Duration:
		return show(value)
	case []string:
		return append([]string{}, value...) // an empty list, never null
	case string:
		return masked(value, s.secret)
	default:
		return value
	}
}

// masked hides what is secret of a value; an empty one shows that it is empty.
func masked(value, secret string) string {
	switch {
	case secret == "" || value == "":
		return value
	case secret == "url":
		servers := strings.Split(value, ",")
		for i, server := range servers {
			if servers[i] = maskURL(strings.TrimSpace(server)); servers[i] == mask {
				return mask // the comma may be part of a password
			}
		}
		return strings.Join(servers, ",")
	default:
		return mask
	}
}

// maskURL hides userinfo, query and fragment. A password with an unescaped / ?
// or # ends up in host and path, so an @ anywhere else hides everything.
func maskURL(text string) string {
	u, err := url.Parse(text)
	at := strings.Count(text, "@")
	if err != nil || u.Host == "" || at > 1 || at == 1 && u.User == nil {
		return mask
	}
	shown := u.Scheme + "://"
	if u.User != nil {
		shown += mask + "@"
	}
	shown += u.Host + u.EscapedPath()
	if u.RawQuery != "" || u.Fragment != "" {
		shown += "?" + mask
	}
	return shown
}
