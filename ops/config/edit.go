package config

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Pair is a key of a section and its value.
type Pair struct{ Key, Value string }

// ErrSection says that the section is in the file already.
var ErrSection = errors.New("the file has this section already")

// Insert gives the text of a configuration file with a section of these pairs, such
// as feishu, or feishu.apps.support, which it finds by the first of them. All other
// keys and all comments stay. A key displaces its _file sibling, and the other way
// around. A section that is there already is changed if replace is set.
func Insert(content []byte, section []string, pairs []Pair, replace bool) ([]byte, error) {
	doc, err := parseDocument(content)
	if err != nil {
		return nil, err
	}
	if has(doc.Content[0], section, pairs[0].Key) && !replace {
		return nil, fmt.Errorf("%s: %w", strings.Join(section, "."), ErrSection)
	}
	text, fits := insertText(content, doc.Content[0], section, pairs)
	if err := put(doc.Content[0], section, pairs); err != nil {
		return nil, err
	}
	var encoded bytes.Buffer
	e := yaml.NewEncoder(&encoded)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(doc), e.Close()); err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	// Lines that are put between the others leave blank lines and quotes alone, too,
	// which the encoder does not. They must mean the same.
	if fits && sameMeaning(text, encoded.Bytes()) {
		return text, nil
	}
	return encoded.Bytes(), nil
}

// parseDocument reads one document whose root is a mapping; an empty file gets one.
func parseDocument(content []byte) (*yaml.Node, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(content, &doc); err != nil {
		return nil, fmt.Errorf("read YAML: %w", err)
	}
	if doc.Kind == 0 {
		doc = yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{{Kind: yaml.MappingNode, Tag: "!!map"}}}
	}
	root := doc.Content[0]
	if empty(root) {
		*root = yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", HeadComment: root.HeadComment}
	}
	if root.Kind != yaml.MappingNode {
		return nil, errors.New("the file does not hold keys, each as \"name: value\"")
	}
	return &doc, nil
}

// child gives the place of a key in a mapping and its value.
func child(m *yaml.Node, key string) (at int, value *yaml.Node) {
	if m == nil || m.Kind != yaml.MappingNode {
		return -1, nil
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return i, m.Content[i+1]
		}
	}
	return -1, nil
}

func has(root *yaml.Node, section []string, key string) bool {
	for _, name := range section {
		if _, root = child(root, name); root == nil {
			return false
		}
	}
	_, value := child(root, key)
	return value != nil
}

// put changes the tree.
func put(m *yaml.Node, section []string, pairs []Pair) error {
	for _, name := range section {
		_, next := child(m, name)
		switch {
		case next == nil:
			next = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
			m.Content = append(m.Content, scalar(name), next)
		case empty(next):
			*next = yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", HeadComment: next.HeadComment, LineComment: next.LineComment, FootComment: next.FootComment}
		case next.Kind != yaml.MappingNode:
			return fmt.Errorf("line %d: %s does not hold keys", next.Line, name)
		}
		m = next
	}
	for _, p := range pairs {
		sibling := p.Key + fileSuffix
		if bare, is := strings.CutSuffix(p.Key, fileSuffix); is {
			sibling = bare
		}
		if at, _ := child(m, sibling); at >= 0 {
			m.Content = append(m.Content[:at], m.Content[at+2:]...)
		}
		if at, _ := child(m, p.Key); at >= 0 {
			comment := m.Content[at+1].LineComment
			m.Content[at+1] = scalar(p.Value)
			m.Content[at+1].LineComment = comment
			continue
		}
		m.Content = append(m.Content, scalar(p.Key), scalar(p.Value))
	}
	return nil
}

func scalar(value string) *yaml.Node {
	var n yaml.Node
	n.SetString(value)
	return &n
}

// insertText puts the pairs as lines behind the line of the deepest section that is
// there; fits is false where that cannot be.
func insertText(content []byte, root *yaml.Node, section []string, pairs []Pair) (text []byte, fits bool) {
	parent, line, indent, depth := root, -1, 0, 0 // line -1: at the end
	for _, name := range section {
		at, next := child(parent, name)
		if at < 0 {
			break
		}
		if next.Kind == yaml.MappingNode && next.Style&yaml.FlowStyle != 0 {
			return nil, false
		}
		line, indent = parent.Content[at].Line, parent.Content[at].Column-1+2
		if next.Kind == yaml.MappingNode && len(next.Content) > 0 {
			indent = next.Content[0].Column - 1
		}
		parent = next
		depth++
	}
	lines, err := block(section[depth:], pairs, indent)
	if err != nil {
		return nil, false
	}
	if line < 0 {
		if len(content) > 0 && !bytes.HasSuffix(content, []byte("\n")) {
			content = append(bytes.Clone(content), '\n')
		}
		return append(bytes.Clone(content), lines...), true
	}
	all := bytes.SplitAfter(content, []byte("\n"))
	if line > len(all) || !bytes.HasSuffix(all[line-1], []byte("\n")) {
		return nil, false
	}
	return bytes.Join([][]byte{bytes.Join(all[:line], nil), lines, bytes.Join(all[line:], nil)}, nil), true
}

// block writes a section with its pairs, moved in by indent.
func block(section []string, pairs []Pair, indent int) ([]byte, error) {
	root := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	if err := put(root, section, pairs); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(root), e.Close()); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for line := range bytes.Lines(b.Bytes()) {
		out.WriteString(strings.Repeat(" ", indent))
		out.Write(line)
	}
	return out.Bytes(), nil
}

func sameMeaning(a, b []byte) bool {
	var one, two any
	return yaml.Unmarshal(a, &one) == nil && yaml.Unmarshal(b, &two) == nil && reflect.DeepEqual(one, two)
}
