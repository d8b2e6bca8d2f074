package shown

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/clipperhouse/uax29/v2/graphemes"
)

// splitSpans gives the spans that have room, and the others. A span in between is
// cut; links are not.
func (p *packer) splitSpans(b block, room size) (head, tail []span) {
	room = room.minus(p.measure(b.first))
	perLine := p.measure(p.newline + b.rest).minus(p.measure("\n"))
	var plain strings.Builder // what has room, to be searched for a border
	starts := make([]int, 0, len(b.spans))
	end, ahead := 0, ""
	for i := range b.spans {
		s := &b.spans[i]
		left := room.minus(p.around(s))
		need := p.measure(s.text)
		for range strings.Count(s.text, "\n") {
			need = need.plus(perLine)
		}
		starts = append(starts, plain.Len())
		if need.within(left) {
			plain.WriteString(s.text)
			room, end = left.minus(need), plain.Len()
			continue
		}
		if s.link != "" && !p.around(s).plus(need).within(p.whole().minus(p.measure(b.first+b.rest+"\n\n"))) {
			tail = append([]span{}, b.spans...) // longer than any part: it stays as a text
			tail[i].link = ""
			if i == 0 {
				return p.splitSpans(block{first: b.first, rest: b.rest, spans: tail}, room.plus(p.measure(b.first)))
			}
			b.spans = tail
		} else if s.link == "" {
			n := p.prefixLines(s.text, left, perLine)
			plain.WriteString(s.text[:n])
			end, ahead = plain.Len(), s.text[n:n+wholeRunes(s.text[n:], farthest)]
		}
		break
	}
	return cutSpans(b.spans, starts, p.spanBorder(b.spans, starts, plain.String()+ahead, end))
}

// spanBorder is the best place in text to cut, outside of links, at or before end.
func (p *packer) spanBorder(spans []span, starts []int, text string, end int) int {
	end = border(text, end)
	for i, from := range starts {
		if spans[i].link != "" && from < end && end < from+len(spans[i].text) {
			if from > 0 {
				return from
			}
			return len(spans[i].text)
		}
	}
	return end
}

func cutSpans(spans []span, starts []int, at int) (head, tail []span) {
	if at == 0 {
		return nil, spans
	}
	for i, from := range starts {
		switch s := spans[i]; {
		case at <= from:
			return trimmed(append([]span{}, spans[:i]...)), trimmed(append([]span{}, spans[i:]...))
		case at < from+len(s.text):
			first, second := s, s
			first.text, second.text = s.text[:at-from], s.text[at-from:]
			head = append(append([]span{}, spans[:i]...), first)
			tail = append([]span{second}, spans[i+1:]...)
			return trimmed(head), trimmed(tail)
		}
	}
	n := len(starts)
	return trimmed(append([]span{}, spans[:n]...)), trimmed(append([]span{}, spans[n:]...))
}

// prefix is how many bytes of s have room.
func (p *packer) prefix(s string, room size) int { return p.prefixLines(s, room, size{}) }

func (p *packer) prefixLines(s string, room, perLine size) int {
	for i := 0; i < len(s); {
		_, n := utf8.DecodeRuneInString(s[i:])
		room = room.minus(p.measure(s[i : i+n]))
		if s[i] == '\n' {
			room = room.minus(perLine)
		}
		if room.bytes < 0 || room.runes < 0 {
			return i
		}
		i += n
	}
	return len(s)
}

// Borders, the better the larger.
const (
	noBorder = iota
	wordBorder
	sentenceBorder
	lineBorder
)

// border is the best place to cut s at or before end: behind a line, else a
// sentence, else a word, in the later half; else between two characters.
func border(s string, end int) int {
	if end == 0 {
		return 0
	}
	best, at := noBorder, 0
	for i := end; i > end/2; {
		r, n := utf8.DecodeLastRuneInString(s[:i])
		next, _ := utf8.DecodeRuneInString(s[i:])
		if k := borderOf(r, next); k > best {
			best, at = k, i
		}
		i -= n
	}
	if best != noBorder {
		return at
	}
	return between(s, end)
}

// borderOf rates a cut between two characters.
func borderOf(r, next rune) int {
	switch {
	case r == '\n':
		return lineBorder
	case strings.ContainsRune("。！？；…", r) && !strings.ContainsRune("。！？；…”’」』）", next):
		return sentenceBorder
	case strings.ContainsRune(".!?;", r) && unicode.IsSpace(next):
		return sentenceBorder
	case strings.ContainsRune("，、：", r), unicode.IsSpace(r):
		return wordBorder
	}
	return noBorder
}

// farthest is how many bytes of a grapheme are looked at: one that is longer may be cut.
const farthest = 256

// between is the last place at or before end that cuts no grapheme, or no
// character where one is longer than a part.
func between(s string, end int) int {
	if end == len(s) {
		return end
	}
	from := end - wholeFrom(s, end, farthest)
	at := from
	for g := graphemes.FromString(s[from:min(len(s), end+farthest)]); g.Next(); {
		if from+g.End() > end {
			break
		}
		at = from + g.End()
	}
	if at == 0 || at <= end-farthest {
		return wholeRunes(s, end)
	}
	return at
}

// wholeFrom is about far, so that a character begins that far before end.
func wholeFrom(s string, end, far int) int {
	far = min(far, end)
	for far < end && !utf8.RuneStart(s[end-far]) {
		far++
	}
	return far
}
