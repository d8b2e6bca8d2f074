package config

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"moltbot/contracts"
)

// The keys of a model file that hold entries under names of the operator's choice.
const (
	keyProviders = "providers"
	keyModels    = "models"
	keyRouting   = "model_routing"
	keyRoutes    = keyRouting + ".routes"
	keyDefault   = keyRouting + ".default"
)

// catalogLayer is what one file says of named entries. The layers in it have
// the keys of one entry.
type catalogLayer struct {
	prefix    string // of the keys in this file
	providers map[string]*layer
	models    map[string]*layer
	fallback  string // model_routing.default
	routes    []contracts.ModelRoute
	routed    bool // routes were given, if only none
}

func newCatalogLayer(prefix string) *catalogLayer {
	return &catalogLayer{prefix: prefix, providers: map[string]*layer{}, models: map[string]*layer{}}
}

// takes reports whether key is one of the catalog's.
func (c *catalogLayer) takes(key string) bool {
	if c == nil {
		return false
	}
	bare, ok := strings.CutPrefix(key, c.prefix)
	return ok && oneOf(bare, keyProviders, keyModels, keyRouting)
}

// catalogued reads the value of one of the catalog's keys.
func (r reader) catalogued(key string, n *yaml.Node) {
	if empty(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.fail(r.at(n), key, "must hold keys, each as \"name: value\"")
		return
	}
	switch c := r.catalog; strings.TrimPrefix(key, c.prefix) {
	case keyProviders:
		r.entries(key, newBook(Provider{}), n, c.providers)
	case keyModels:
		r.entries(key, newBook(Entry{}), n, c.models)
	default:
		r.routing(key, n)
	}
}

func (r reader) entries(section string, b book, n *yaml.Node, into map[string]*layer) {
	for i := 0; i+1 < len(n.Content) && len(r.mistakes) < maxMistakes; i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		key := section + "." + name.Value
		switch _, twice := into[name.Value]; {
		case name.Kind != yaml.ScalarNode || !nameable.MatchString(name.Value):
			r.fail(r.at(name), section, fmt.Sprintf("%q is not a name: letters, digits and . _ : / @ -, at most 128", printable(name.Value)))
		case twice:
			r.fail(r.at(name), key, "is given twice")
		case value.Kind != yaml.MappingNode:
			r.fail(r.at(value), key, "must hold keys, each as \"name: value\"")
		default:
			into[name.Value] = r.nested(key, b, value)
			r.where[key] = r.at(name)
		}
	}
}

// nested reads one entry with the keys of b. Its mistakes become those of r.
func (r reader) nested(key string, b book, n *yaml.Node) *layer {
	sub := reader{layer: newLayer(), path: r.path, book: b, seen: map[string]int{}}
	sub.mapping("", n)
	r.adopt(key, sub.layer)
	return sub.layer
}

// adopt takes over where an entry's keys stand and what is wrong with them.
func (r reader) adopt(key string, sub *layer) {
	for k, place := range sub.where {
		r.where[key+"."+k] = place
	}
	for k := range sub.broken {
		r.broken[key+"."+k] = true
	}
	for _, err := range sub.mistakes {
		if m, ok := err.(*Mistake); ok && m.Key != "" {
			m.Key = key + "." + m.Key
		}
		r.mistakes = append(r.mistakes, err)
	}
}

// routingKeys are the keys of model_routing, beside its list.
type routingKeys struct {
	Default string `koanf:"default" doc:"Model that answers where no route matches; may be left out where there is one model."`
}

// routeKeys are the keys of one route.
type routeKeys struct {
	Pattern string `koanf:"pattern" doc:"Go regular expression for the path behind /api/chat, or a leading /xx/ of the text."`
	Model   string `koanf:"model" doc:"Model that answers what matches; the first route that does holds."`
}

func (r reader) routing(key string, n *yaml.Node) {
	rest := *n
	rest.Content = nil
	seen := false
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		switch {
		case name.Value != "routes":
			rest.Content = append(rest.Content, name, value)
		case seen:
			r.fail(r.at(name), key+".routes", "is given twice")
		default:
			seen = true
			r.routes(key+".routes", value)
		}
	}
	l := r.nested(key, newBook(routingKeys{}), &rest)
	r.catalog.fallback, _ = l.values["default"].(string)
}

func (r reader) routes(key string, n *yaml.Node) {
	r.where[key] = r.at(n)
	if n.Kind != yaml.SequenceNode && !empty(n) {
		r.fail(r.at(n), key, "must be a list of routes, each with pattern and model")
		return
	}
	r.catalog.routed = true
	for i, item := range n.Content {
		if len(r.mistakes) >= maxMistakes {
			return
		}
		name := routeKey(key, i)
		r.where[name] = r.at(item)
		if item.Kind != yaml.MappingNode {
			r.fail(r.at(item), name, "must hold pattern and model")
			continue
		}
		l := r.nested(name, newBook(routeKeys{}), item)
		pattern, _ := l.values["pattern"].(string)
		model, _ := l.values["model"].(string)
		r.catalog.routes = append(r.catalog.routes, contracts.ModelRoute{Pattern: pattern, Model: model})
	}
}

func routeKey(key string, i int) string { return fmt.Sprintf("%s[%d]", key, i) }

// catalogOf merges what files name, the last one winning, over the flat keys.
func catalogOf(flat Model, layers ...*catalogLayer) (c Catalog, err error) {
	providers, models := map[string][]*layer{}, map[string][]*layer{}
	for _, l := range layers {
		if l == nil {
			continue
		}
		for name, p := range l.providers {
			providers[name] = append(providers[name], p)
		}
		for name, m := range l.models {
			models[name] = append(models[name], m)
		}
		if l.fallback != "" {
			c.Default = l.fallback
		}
		if l.routed {
			c.Routes = l.routes
		}
	}
	if c.Providers, err = entriesOf(defaultProvider(flat), providers); err != nil {
		return Catalog{}, err
	}
	c.Models, err = entriesOf(defaultEntry(flat), models)
	return c, err
}

func entriesOf[T any](defaults T, layers map[string][]*layer) (map[string]T, error) {
	if len(layers) == 0 {
		return nil, nil
	}
	all := make(map[string]T, len(layers))
	for name, ls := range layers {
		var v T
		if err := merge(&v, defaults, ls...); err != nil {
			return nil, err
		}
		all[name] = v
	}
	return all, nil
}
