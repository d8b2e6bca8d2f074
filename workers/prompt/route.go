package prompt

import (
	"errors"
	"fmt"
	"regexp"

	"moltbot/contracts"
)

// System is the system prompt of the routes that match Pattern, a Go regular
// expression. An empty Text is none.
type System struct {
	Pattern string
	Text    string
}

func compile(systems []System) ([]*regexp.Regexp, error) {
	var errs []error
	patterns := make([]*regexp.Regexp, len(systems))
	for i, s := range systems {
		var err error
		if patterns[i], err = regexp.Compile(s.Pattern); err != nil || s.Pattern == "" {
			errs = append(errs, fmt.Errorf("systems[%d]: %q is no regular expression: %w", i, s.Pattern, err))
		}
	}
	return patterns, errors.Join(errs...)
}

// System gives the system prompt for a text that came by the given routes, and
// the text without the route that led it, if that was what matched. It looks at
// the routes in order, then at the leading /xx/ of the text, as a
// contracts.Router does for the model.
func (b *Builder) System(text string, routes ...string) (system, rest string) {
	if len(b.patterns) == 0 {
		return b.opts.System, text
	}
	for _, route := range routes {
		if system, ok := b.match(route); ok {
			return system, text
		}
	}
	if route, rest, ok := contracts.CutRoute(text); ok {
		if system, ok := b.match(route); ok {
			return system, rest
		}
	}
	return b.opts.System, text
}

func (b *Builder) match(route string) (string, bool) {
	if route == "" {
		return "", false
	}
	for i, p := range b.patterns {
		if p.MatchString(route) {
			return b.opts.Systems[i].Text, true
		}
	}
	return "", false
}
