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
	all := nest(c)
	c.Model.Catalog.show(all["model"].(map[string]any))
	if len(c.Session.Systems) > 0 {
		all["session"].(map[string]any)["systems"] = showSystems(c.Session.Systems)
	}
	showApps(all["dingtalk"].(map[string]any), c.DingTalk.Named)
	showApps(all["feishu"].(map[string]any), c.Feishu.Named)
	var text []byte
	var err error
	switch format {
	case "yaml":
		text, err = yaml.Marshal(all)
	case "json":
		text, err = json.MarshalIndent(all, "", "  ")
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

// nest gives the settings of v as they would be written in a file.
func nest(v any) map[string]any {
	flat := map[string]any{}
	for _, s := range newBook(v).settings {
		flat[s.path] = shown(s)
	}
	return maps.Unflatten(flat, ".")
}

// show adds what is named to the model section; without names there is nothing to say.
func (c Catalog) show(section map[string]any) {
	providers, models, routes := map[string]any{}, map[string]any{}, []any{}
	for name, p := range c.Providers {
		providers[name] = nest(p)
	}
	for name, m := range c.Models {
		models[name] = nest(m)
	}
	for _, r := range c.Routes {
		routes = append(routes, nest(routeKeys(r)))
	}
	if len(providers)+len(models)+len(routes) > 0 || c.Default != "" {
		section[keyProviders], section[keyModels] = providers, models
		section[keyRouting] = map[string]any{"default": c.Default, "routes": routes}
	}
}

func shown(s setting) any {
	switch value := s.value.(type) {
	case time.Duration:
		return show(value)
	case []string:
		list := make([]string, len(value)) // an empty list, never null
		for i, item := range value {
			list[i] = masked(item, s.secret)
		}
		return list
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
