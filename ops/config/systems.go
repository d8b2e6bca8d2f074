package config

import (
	"fmt"
	"regexp"

	"go.yaml.in/yaml/v3"
)

// keySystems is the list of system prompts of routes.
const keySystems = "session.systems"

// Limits of the list.
const (
	maxSystems       = 256
	maxSystemPattern = 512
)

// System is the system prompt of a route, one entry of session.systems.
type System struct {
	Pattern string `koanf:"pattern" doc:"Go regular expression for the path behind /api/chat, or a leading /xx/ of the text; the first that matches holds."`
	System  string `koanf:"system" doc:"System prompt of what matches, instead of session.system; empty means none."`
}

// takesSystems reports whether key is the list, in a file that may have it.
func (r reader) takesSystems(key string) bool {
	return key == keySystems && r.book.section("session")
}

func (r reader) readSystems(n *yaml.Node) {
	r.where[keySystems] = r.at(n)
	if n.Kind != yaml.SequenceNode && !empty(n) {
		r.fail(r.at(n), keySystems, "must be a list, each entry with pattern and system")
		return
	}
	for i, item := range n.Content {
		if len(r.mistakes) >= maxMistakes {
			return
		}
		name := routeKey(keySystems, i)
		r.where[name] = r.at(item)
		if item.Kind != yaml.MappingNode {
			r.fail(r.at(item), name, "must hold pattern and system")
			continue
		}
		l := r.nested(name, newBook(System{}), item)
		s := System{}
		s.Pattern, _ = l.values["pattern"].(string)
		s.System, _ = l.values["system"].(string)
		r.layer.systems = append(r.layer.systems, s)
	}
}

func (f *findings) systems(all []System) {
	f.want(len(all) <= maxSystems, fmt.Sprintf("has more than %d entries", maxSystems), keySystems)
	for i, s := range all {
		_, err := regexp.Compile(s.Pattern)
		f.want(err == nil && s.Pattern != "" && len(s.Pattern) <= maxSystemPattern,
			fmt.Sprintf("must be a regular expression of 1 to %d characters", maxSystemPattern), routeKey(keySystems, i)+".pattern", routeKey(keySystems, i))
	}
}

// showSystems gives the list as it would be written in a file.
func showSystems(all []System) []any {
	list := make([]any, len(all))
	for i, s := range all {
		list[i] = nest(s)
	}
	return list
}
