package shown

import "strings"

// marks are how styles begin and end, in the order in which they are nested.
var marks = [...]struct {
	style style
	sign  string
}{{bold, "**"}, {italic, "*"}, {strike, "~~"}}

const fence = "```"

// write gives a block as it stands in a part.
func (d *dialect) write(b *block) string {
	var s strings.Builder
	if b.lines != nil {
		d.writeCode(&s, b.lang, b.lines)
		return s.String()
	}
	s.WriteString(b.first)
	open := make([]int, 0, len(marks)) // indices of marks
	for i := range b.spans {
		open = d.turn(&s, open, b.spans[i].style)
		d.writeSpan(&s, &b.spans[i], b.rest)
	}
	d.turn(&s, open, 0)
	return s.String()
}

func (d *dialect) writeCode(s *strings.Builder, lang string, lines []string) {
	if d.plain {
		s.WriteString(strings.Join(lines, "\n"))
		return
	}
	s.WriteString(fence + lang + "\n")
	for _, l := range lines {
		s.WriteString(l)
		s.WriteByte('\n')
	}
	s.WriteString(fence)
}

func (d *dialect) writeSpan(s *strings.Builder, p *span, rest string) {
	switch {
	case d.plain || !p.code && p.link == "":
		s.WriteString(strings.ReplaceAll(p.text, "\n", d.newline+rest))
	case p.code:
		s.WriteString("`" + p.text + "`")
	default:
		s.WriteString("[" + p.text + "](" + p.link + ")")
	}
}

// turn closes what is open and not wanted, and opens what is.
func (d *dialect) turn(s *strings.Builder, open []int, want style) []int {
	if d.plain {
		return open
	}
	keep := 0
	for keep < len(open) && want&marks[open[keep]].style != 0 {
		keep++
	}
	for i := len(open) - 1; i >= keep; i-- {
		s.WriteString(marks[open[i]].sign)
	}
	open = open[:keep]
	var have style
	for _, i := range open {
		have |= marks[i].style
	}
	for i, m := range marks {
		if want&m.style != 0 && have&m.style == 0 {
			s.WriteString(m.sign)
			open = append(open, i)
		}
	}
	return open
}

// around is the most that the markup of a span takes.
func (d *dialect) around(p *span) size {
	if d.plain {
		return size{}
	}
	var s strings.Builder
	for _, m := range marks {
		if p.style&m.style != 0 {
			s.WriteString(m.sign + m.sign)
		}
	}
	if p.code {
		s.WriteString("``")
	}
	if p.link != "" {
		s.WriteString("[](" + p.link + ")")
	}
	return d.measure(s.String())
}
