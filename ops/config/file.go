package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	maxFile     = 1 << 20
	maxMistakes = 50 // per file; a file of another kind would list thousands
)

// readFile reads a YAML file whose keys are those of b, and those of a catalog
// under prefix.
func readFile(path string, b book, prefix string) *layer {
	r := reader{layer: newLayer(), path: path, book: b, seen: map[string]int{}}
	r.catalog = newCatalogLayer(prefix)
	content, err := readLimited(path, maxFile)
	if err != nil {
		return r.giveUp(fmt.Sprintf("%s: read configuration: %v", path, withoutPath(err)))
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var doc yaml.Node
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		return r.layer // an empty file says nothing
	} else if err != nil {
		return r.giveUp(r.syntax(err))
	}
	var more yaml.Node
	if err := decoder.Decode(&more); err == nil {
		return r.giveUp(fmt.Sprintf("%s:%d: holds a second document", path, more.Line))
	} else if !errors.Is(err, io.EOF) {
		return r.giveUp(r.syntax(err))
	}
	if root := doc.Content[0]; !empty(root) {
		r.mapping("", root)
	}
	return r.layer
}

// reader turns YAML nodes into a layer, for their line numbers.
type reader struct {
	*layer
	path string
	book book
	seen map[string]int // line of each key and section
}

func (r reader) giveUp(text string) *layer {
	r.unread = true
	r.fail("", "", text)
	return r.layer
}

func (r reader) at(n *yaml.Node) string { return fmt.Sprintf("%s:%d", r.path, n.Line) }

func (r reader) mapping(prefix string, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		r.fail(r.at(n), strings.TrimSuffix(prefix, "."), "must hold keys, each as \"name: value\"")
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if len(r.mistakes) >= maxMistakes {
			return
		}
		r.pair(prefix, n.Content[i], n.Content[i+1])
	}
}

func (r reader) pair(prefix string, name, value *yaml.Node) {
	if name.Kind != yaml.ScalarNode {
		r.fail(r.at(name), "", "a key must be a plain name")
		return
	}
	key := prefix + name.Value
	e, known := r.book.byKey[key]
	section, named, systems, apps := r.book.section(key), r.catalog.takes(key), r.takesSystems(key), r.takesApps(key)
	if !known && !section && !named && !systems && !apps || strings.Contains(name.Value, ".") {
		r.unknown(key, name, value)
		return
	}
	if first, ok := r.seen[key]; ok {
		r.fail(r.at(name), key, fmt.Sprintf("is given twice (first in line %d)", first))
		return
	}
	r.seen[key] = name.Line
	switch {
	case known:
		r.leaf(key, e, value)
	case named:
		r.catalogued(key, value)
	case systems:
		r.readSystems(value)
	case apps:
		r.readApps(key, value)
	case !empty(value): // a section whose keys are all commented out is fine
		r.mapping(key+".", value)
	}
}

// unknown reports the leaves of a key that nobody knows.
func (r reader) unknown(key string, name, value *yaml.Node) {
	if value.Kind == yaml.MappingNode && len(value.Content) > 0 && len(key) < maxKey {
		for i := 0; i+1 < len(value.Content) && len(r.mistakes) < maxMistakes; i += 2 {
			r.unknown(key+"."+value.Content[i].Value, value.Content[i], value.Content[i+1])
		}
		return
	}
	if e, ok := r.book.byKey[key]; ok {
		text := fmt.Sprintf("key %q must be written as nested keys: a line for each part, indented", e.path)
		r.fail(r.at(name), "", text)
		return
	}
	key = printable(key)
	r.fail(r.at(name), "", fmt.Sprintf("key %q is unknown; did you mean %q?", key, nearest(key, r.names())))
}

// names are the keys that may stand in the file.
func (r reader) names() []string {
	names := r.book.names()
	if r.takesSystems(keySystems) {
		names = append(names, keySystems, keyDingTalkApps, keyFeishuApps)
	}
	if r.catalog != nil {
		for _, key := range []string{keyProviders, keyModels, keyRouting} {
			names = append(names, r.catalog.prefix+key)
		}
	}
	return names
}

func (r reader) leaf(key string, e entry, n *yaml.Node) {
	_, list := e.value.([]string)
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		r.fail(r.at(n), key, "anchors and aliases are not supported")
	case n.Style&yaml.TaggedStyle != 0:
		r.fail(r.at(n), key, "tags are not supported")
	case list && !e.fromFile:
		r.list(key, e, n)
	case n.Kind != yaml.ScalarNode:
		r.fail(r.at(n), key, "must be a single value ("+typeName(e.value)+")")
	case empty(n):
		r.fail(r.at(n), key, "has no value; remove the line to get the default")
	default:
		r.put(r.at(n), key, e, n.Value)
	}
}

func (r reader) list(key string, e entry, n *yaml.Node) {
	if n.Kind != yaml.SequenceNode {
		r.fail(r.at(n), key, "must be a list, like [a, b]")
		return
	}
	items := make([]string, 0, len(n.Content))
	for _, item := range n.Content {
		if item.Kind != yaml.ScalarNode || empty(item) || item.Anchor != "" || item.Style&yaml.TaggedStyle != 0 {
			r.fail(r.at(item), key, "must be a list of plain texts")
			return
		}
		items = append(items, item.Value)
	}
	r.set(r.at(n), key, e, items)
}

func empty(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// syntax is the parser's complaint without anything it quotes from the file.
func (r reader) syntax(err error) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	place := r.path
	if m := regexp.MustCompile(`^line (\d+): `).FindStringSubmatch(text); m != nil {
		place, text = place+":"+m[1], text[len(m[0]):]
	}
	if strings.Contains(text, "anchor") || strings.ContainsRune(text, '`') {
		text = "anchors, aliases and tags are not supported"
	}
	return place + ": is not valid YAML: " + text
}

// printable is the part of an unknown key that is safe to show. "api_key:abc"
// without its space is a key too, so the text ends where a name would.
func printable(key string) string {
	for i, c := range []byte(key) {
		word := c == '.' || c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !word || i == maxKey {
			return key[:i] + "..."
		}
	}
	return key
}
