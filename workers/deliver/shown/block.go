package shown

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/text"
)

// block is a paragraph, an item of a list or a piece of code: what is kept in one
// part if it can be.
type block struct {
	first, rest string // what its first line begins with, and the others
	spans       []span
	lines       []string // of code; nil: it is none
	lang        string
	head        int // lines that are repeated where code is continued: of a table
	tight       bool
	group       int // blocks of one group are better kept together
}

// deepest is how far lists are indented; what is deeper stands there too.
const deepest = 4

// blocks reads md.
func (d *dialect) blocks(md string) []block {
	source := []byte(md)
	parser := goldmark.New(goldmark.WithExtensions(extension.Table, extension.Strikethrough, extension.Linkify)).Parser()
	w := walker{dialect: d, source: source}
	doc := parser.Parse(text.NewReader(source))
	for n := doc.FirstChild(); n != nil; n = n.NextSibling() {
		w.block(n, "", "")
		if n.Kind() != ast.KindHeading { // it belongs to what follows
			w.group++
		}
	}
	return w.out
}

type walker struct {
	*dialect
	source []byte
	out    []block
	group  int
	tight  bool // the next block stands right below the last
}

func (w *walker) put(b block) {
	if len(b.spans) == 0 && b.lines == nil {
		return
	}
	b.group, b.tight = w.group, w.tight
	w.tight = false
	w.out = append(w.out, b)
}

func (w *walker) children(n ast.Node, first, rest string) {
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		before := len(w.out)
		w.block(c, first, rest)
		if len(w.out) > before {
			first = rest
		}
	}
}

func (w *walker) block(n ast.Node, first, rest string) {
	switch n := n.(type) {
	case *ast.Heading:
		w.heading(n, first, rest)
	case *ast.ThematicBreak:
		w.put(block{first: first, rest: rest, spans: []span{{text: "———"}}})
	case *ast.CodeBlock:
		w.code(n, "")
	case *ast.FencedCodeBlock:
		w.code(n, string(n.Language(w.source)))
	case *ast.HTMLBlock:
		w.html(n, first, rest)
	case *ast.Blockquote:
		if !w.plain {
			first, rest = quoted(first), quoted(rest)
		}
		w.children(n, first, rest)
	case *ast.List:
		w.list(n, first, rest)
	case *extast.Table:
		w.table(n, first, rest)
	default:
		if n.Type() == ast.TypeBlock && n.FirstChild() != nil && n.FirstChild().Type() == ast.TypeBlock {
			w.children(n, first, rest)
			return
		}
		w.put(block{first: first, rest: rest, spans: w.finish(w.spansOf(n, w.source))})
	}
}

// quoted adds a sign of quotation; one is enough for quotations within others.
func quoted(prefix string) string {
	if strings.Contains(prefix, "> ") {
		return prefix
	}
	return prefix + "> "
}

func (w *walker) heading(n *ast.Heading, first, rest string) {
	spans := w.spansOf(n, w.source)
	for i := range spans {
		spans[i].text = strings.ReplaceAll(spans[i].text, "\n", " ")
		if spans[i].style &^= bold; !w.headings && !w.plain {
			spans[i].style |= bold
		}
	}
	if w.headings {
		first += strings.Repeat("#", n.Level) + " "
	}
	w.put(block{first: first, rest: rest, spans: w.finish(spans)})
}

var language = regexp.MustCompile(`^[A-Za-z0-9+#._-]{1,20}$`)

// code stands alone, whatever it was in: platforms show no code within lists.
func (w *walker) code(n ast.Node, lang string) {
	var b strings.Builder
	for i := range n.Lines().Len() {
		at := n.Lines().At(i)
		b.Write(at.Value(w.source))
	}
	if !language.MatchString(lang) {
		lang = ""
	}
	body := strings.TrimRight(b.String(), "\n")
	if strings.TrimSpace(body) == "" {
		return
	}
	body = calmer{code: !w.plain, hosts: len(w.hosts) > 0}.text(body, false)
	w.put(block{lines: strings.Split(body, "\n"), lang: lang})
}

func (w *walker) html(n *ast.HTMLBlock, first, rest string) {
	var b strings.Builder
	for i := range n.Lines().Len() {
		at := n.Lines().At(i)
		b.Write(at.Value(w.source))
	}
	if n.HasClosure() {
		b.Write(n.ClosureLine.Value(w.source))
	}
	var lines []string
	for line := range strings.Lines(decoded(tagless(b.String()))) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	w.put(block{first: first, rest: rest, spans: w.finish([]span{{text: strings.Join(lines, "\n")}})})
}

func (w *walker) list(n *ast.List, _, rest string) {
	if strings.HasSuffix(rest, "  ") { // within an item
		if rest += "  "; strings.Count(rest, "    ") > deepest-1 {
			rest = strings.TrimSuffix(rest, "    ")
		}
	}
	number := n.Start
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		marker := "- "
		if n.IsOrdered() {
			marker = strconv.Itoa(number) + ". "
			number++
		}
		w.item(c, rest+marker, rest+"  ")
	}
	w.tight = false
}

func (w *walker) item(n ast.Node, first, rest string) {
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		before := len(w.out)
		w.block(c, first, rest)
		if len(w.out) > before {
			first = rest
		}
		w.tight = true
	}
}
