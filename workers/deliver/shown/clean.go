package shown

import (
	"html"
	"regexp"
	"strings"
	"unicode"
)

// literal stands before a character that the author of a text kept from being
// markup. It is a noncharacter, and clean takes it out of what comes in.
const literal = '\uFDD0'

// clean takes out what cannot be seen: controls, marks that turn the direction of
// what follows, fillers, and signs that carry text without showing it.
func clean(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\r\n", "\n")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\r' || r == '\u2028' || r == '\u2029' || r == '\u0085' || r == '\v' || r == '\f':
			return '\n'
		case r == '\n' || r == '\t' || joins(r):
			return r
		case unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r) || unseen(r):
			return -1
		}
		return r
	}, s)
}

// joins reports whether r makes one sign of two, as in emoji and Indic scripts.
func joins(r rune) bool { return r == '\u200C' || r == '\u200D' }

func unseen(r rune) bool {
	switch {
	case r == '\u034F', r == '\u115F', r == '\u1160', r == '\u17B4', r == '\u17B5', r == '\u3164', r == '\uFFA0', r == '\u2800':
		return true // fillers
	case r >= '\u180B' && r <= '\u180F', r >= 0xE0000 && r <= 0xE0FFF:
		return true // tags and selectors of variants: room for hidden text
	}
	return r&0xFFFE == 0xFFFE || r >= '\uFDD0' && r <= '\uFDEF' // noncharacters
}

// longest is how long a paragraph is read as one.
const longest = 16 << 10

// aired puts an empty line where there was none for too long: the time to read a
// paragraph, or a table, grows with the square of its length.
func aired(s string) string {
	if len(s) <= longest {
		return s
	}
	var b strings.Builder
	since := 0 // the last empty line
	for line := range strings.Lines(s) {
		if strings.TrimSpace(line) == "" {
			since = 0
		} else if since > 0 && since+len(line) > longest {
			b.WriteByte('\n')
			since = 0
		}
		for len(line) > longest {
			n := wholeRunes(line, longest)
			b.WriteString(line[:n] + "\n\n")
			line = line[n:]
		}
		b.WriteString(line)
		since += len(line)
	}
	return b.String()
}

var textMark = regexp.MustCompile(`\\[!-/:-@\[-` + "`" + `{-~]|&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});`)

// decoded is a text of Markdown as it reads: without its backslashes and entities.
func decoded(raw string) string {
	if !strings.ContainsAny(raw, `\&`) {
		return raw
	}
	return textMark.ReplaceAllStringFunc(raw, func(m string) string {
		if m[0] == '&' {
			return strings.Map(func(r rune) rune {
				if r == '\n' {
					return ' '
				}
				return r
			}, clean(html.UnescapeString(m)))
		}
		if strings.ContainsAny(m[1:], "*_~`\\") {
			return string(literal) + m[1:]
		}
		return m[1:]
	})
}

// bare is a decoded text where no markup is understood.
func bare(s string) string { return strings.ReplaceAll(s, string(literal), "") }
