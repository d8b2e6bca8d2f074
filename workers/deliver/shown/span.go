package shown

import (
	"strings"

	"github.com/yuin/goldmark/ast"
	extast "github.com/yuin/goldmark/extension/ast"
)

type style uint8

const (
	bold style = 1 << iota
	italic
	strike
)

// span is a piece of a paragraph in one style. Until it is finished its text is
// what the author meant, with nothing neutralised.
type span struct {
	text  string
	style style
	code  bool
	link  string // where it leads; empty: nowhere
}

// inline collects the spans of a node.
type inline struct {
	*dialect
	source []byte
	out    []span
}

// spansOf gives the spans of the children of n, finished or as they are.
func (d *dialect) spansOf(n ast.Node, source []byte) []span {
	in := inline{dialect: d, source: source}
	in.children(n, 0)
	return in.out
}

func (in *inline) children(n ast.Node, s style) {
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		in.node(c, s)
	}
}

func (in *inline) add(text string, s style) {
	if text == "" {
		return
	}
	if n := len(in.out) - 1; n >= 0 && in.out[n].style == s && !in.out[n].code && in.out[n].link == "" {
		in.out[n].text += text
		return
	}
	in.out = append(in.out, span{text: text, style: s})
}

func (in *inline) node(n ast.Node, s style) {
	switch n := n.(type) {
	case *ast.Text:
		in.add(decoded(string(n.Segment.Value(in.source))), s)
		if n.HardLineBreak() || n.SoftLineBreak() {
			in.add("\n", s)
		}
	case *ast.String:
		in.add(decoded(string(n.Value)), s)
	case *ast.CodeSpan:
		if text := verbatim(n, in.source); text != "" {
			in.out = append(in.out, span{text: text, style: s, code: true})
		}
	case *ast.Emphasis:
		if n.Level == 1 {
			s |= italic
		} else {
			s |= bold
		}
		in.children(n, s)
	case *extast.Strikethrough:
		if in.strike {
			s |= strike
		}
		in.children(n, s)
	case *ast.Image:
		in.add(imageText(in.label(n)), s)
	case *ast.Link:
		in.leads(n.Destination, in.label(n), s)
	case *ast.AutoLink:
		in.auto(n, s)
	case *ast.RawHTML:
		var raw strings.Builder
		for i := range n.Segments.Len() {
			at := n.Segments.At(i)
			raw.Write(at.Value(in.source))
		}
		in.add(tagless(raw.String()), s)
	default:
		in.children(n, s)
	}
}

// label is the text of a link or an image.
func (in *inline) label(n ast.Node) string {
	inner := inline{dialect: &dialect{plain: true}, source: in.source}
	inner.children(n, 0)
	return bare(textOf(inner.out))
}

func (in *inline) leads(raw []byte, label string, s style) {
	if strings.TrimSpace(label) == "" {
		label = bare(decoded(string(raw)))
	}
	link, host, ok := in.destination(raw)
	switch {
	case in.plain && ok && !strings.Contains(label, link):
		in.add(label+" ("+link+")", s)
	case in.plain:
		in.add(label, s)
	case ok:
		in.out = append(in.out, span{text: strings.Join(strings.Fields(label), " "), style: s, link: link})
	case host != "" && len(in.hosts) > 0 && !strings.Contains(label, host):
		in.add(label+" ("+unlinked(host)+")", s)
	default:
		in.add(label, s)
	}
}

// auto is an address as such. One that leads where it may not is only its host.
func (in *inline) auto(n *ast.AutoLink, s style) {
	label := bare(clean(string(n.Label(in.source))))
	if n.AutoLinkType == ast.AutoLinkEmail {
		in.add(label, s)
		return
	}
	link, host, ok := in.destination(n.URL(in.source))
	switch {
	case in.plain || !ok && (host == "" || len(in.hosts) == 0):
		in.add(label, s)
	case !ok:
		in.add(unlinked(host), s)
	default:
		in.out = append(in.out, span{text: label, style: s, link: link})
	}
}

func verbatim(n ast.Node, source []byte) string {
	var b strings.Builder
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		switch c := c.(type) {
		case *ast.Text:
			b.Write(c.Segment.Value(source))
		case *ast.String:
			b.Write(c.Value)
		}
	}
	return strings.ReplaceAll(b.String(), "\n", " ")
}

func textOf(spans []span) string {
	if len(spans) == 1 {
		return spans[0].text
	}
	var b strings.Builder
	for _, s := range spans {
		b.WriteString(s.text)
	}
	return b.String()
}

var (
	// A tick that is none of ours would end a piece of code that is.
	labels = strings.NewReplacer("[", "［", "]", "］", "`", "｀", "\n", " ")
	ticks  = strings.NewReplacer("`", "｀", "\n", " ")
)

// finish gives the spans as they may be shown. Those of one style are one by now,
// so that what was put together of harmless pieces is seen whole.
func (d *dialect) finish(spans []span) []span {
	c := calmer{hosts: len(d.hosts) > 0}
	out := spans[:0:0]
	for i, s := range spans {
		more := i+1 < len(spans)
		switch {
		case s.code:
			c := calmer{code: !d.plain, hosts: c.hosts}
			s.text = c.text(clean(s.text), more)
			if !d.plain {
				s.text = ticks.Replace(s.text)
			}
		case s.link != "":
			s.text = c.text(labels.Replace(bare(s.text)), true)
		default:
			s.text = c.text(d.escaped(s.text), more)
		}
		if s.text != "" {
			out = append(out, s)
		}
	}
	return trimmed(out)
}

// escaped is a text with the backslashes that keep its signs from being markup.
func (d *dialect) escaped(s string) string {
	if d.plain {
		return bare(s)
	}
	s = strings.ReplaceAll(s, string(literal)+"`", "｀")
	return strings.ReplaceAll(strings.ReplaceAll(s, "`", "｀"), string(literal), `\`)
}

// trimmed takes off space at both ends.
func trimmed(spans []span) []span {
	const space = " \t\n"
	for len(spans) > 0 && !spans[0].code {
		if spans[0].text = strings.TrimLeft(spans[0].text, space); spans[0].text != "" {
			break
		}
		spans = spans[1:]
	}
	for n := len(spans) - 1; n >= 0 && !spans[n].code; n-- {
		if spans[n].text = strings.TrimRight(spans[n].text, space); spans[n].text != "" {
			break
		}
		spans = spans[:n]
	}
	return spans
}
