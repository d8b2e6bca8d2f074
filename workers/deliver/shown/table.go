package shown

import (
	"strings"
	"unicode"

	"github.com/yuin/goldmark/ast"
	extast "github.com/yuin/goldmark/extension/ast"
	"golang.org/x/text/width"
)

const (
	widest    = 64 // columns of a table that is shown as code
	betweens  = "  "
	separator = " · "
)

// table is shown with its columns below each other where the platform can and it
// is narrow, else as a list of its rows, each cell with the name of its column.
func (w *walker) table(n *extast.Table, first, rest string) {
	var rows [][][]span
	for r := n.FirstChild(); r != nil; r = r.NextSibling() {
		var row [][]span
		for c := r.FirstChild(); c != nil; c = c.NextSibling() {
			row = append(row, w.spansOf(ast.Node(c), w.source))
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return
	}
	if w.codeTable {
		if lines := aligned(rows); lines != nil {
			body := calmer{code: true}.text(strings.Join(lines, "\n"), false)
			w.put(block{lines: strings.Split(body, "\n"), head: 2})
			return
		}
	}
	if len(rows) == 1 {
		w.put(block{first: first + "- ", rest: rest + "  ", spans: w.row(nil, rows[0])})
	}
	for _, row := range rows[1:] {
		w.put(block{first: first + "- ", rest: rest + "  ", spans: w.row(rows[0], row)})
		first, w.tight = rest, true
	}
	w.tight = false
}

// row gives the cells with the names of their columns.
func (w *walker) row(names, cells [][]span) []span {
	in := inline{dialect: w.dialect}
	for i, cell := range cells {
		if textOf(cell) == "" {
			continue
		}
		if len(in.out) > 0 {
			in.add(separator, 0)
		}
		if i < len(names) && textOf(names[i]) != "" {
			in.add(textOf(names[i])+": ", 0)
		}
		for _, s := range cell {
			if !s.code && s.link == "" {
				in.add(s.text, s.style)
				continue
			}
			in.out = append(in.out, s)
		}
	}
	return w.finish(in.out)
}

// aligned is a table as lines of one width; nil where it is too wide for that, or
// has cells that are more than a short text.
func aligned(rows [][][]span) []string {
	cells, widths := make([][]string, len(rows)), make([]int, len(rows[0]))
	for i, row := range rows {
		for j, cell := range row {
			for _, s := range cell {
				if s.link != "" {
					return nil
				}
			}
			s := strings.TrimSpace(calmer{code: true}.text(bare(textOf(cell)), false))
			if strings.Contains(s, "\n") || j >= len(widths) {
				return nil
			}
			cells[i] = append(cells[i], s)
			widths[j] = max(widths[j], columns(s))
		}
	}
	total := 0
	for _, n := range widths {
		total += n + len(betweens)
	}
	if total > widest {
		return nil
	}
	lines := make([]string, 0, len(rows)+1)
	for i, row := range cells {
		lines = append(lines, line(row, widths))
		if i == 0 {
			lines = append(lines, strings.Repeat("-", total-len(betweens)))
		}
	}
	return lines
}

func line(cells []string, widths []int) string {
	var b strings.Builder
	for i, c := range cells {
		b.WriteString(c)
		b.WriteString(strings.Repeat(" ", widths[i]-columns(c)+len(betweens)))
	}
	return strings.TrimRight(b.String(), " ")
}

// columns is how wide s is where every sign takes one or two.
func columns(s string) (n int) {
	for _, r := range s {
		switch k := width.LookupRune(r).Kind(); {
		case unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Cf, r):
		case k == width.EastAsianWide || k == width.EastAsianFullwidth:
			n += 2
		default:
			n++
		}
	}
	return n
}
