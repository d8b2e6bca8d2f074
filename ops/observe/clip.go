package observe

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxField is the usual length limit of a field value, in bytes.
const MaxField = 256

const ellipsis = "…"

// Clip makes s safe as a field value: at most limit bytes (MaxField if limit is
// not positive), valid UTF-8, and nothing in it that moves a cursor, starts a
// line or reorders text. Such characters are shown as in a Go string, \n or
// \u202e; a cut is marked by an ellipsis and splits neither a character nor an
// escape. The work is bounded by limit, not by the length of s.
func Clip(s string, limit int) string {
	if limit <= 0 {
		limit = MaxField
	}
	var b strings.Builder
	fits := 0 // length of what still leaves room for the ellipsis
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		piece := s[i : i+size]
		if hostile(r, size) {
			piece = escape(r, size, piece)
		}
		if b.Len()+len(piece) > limit {
			return cut(b.String(), fits, limit)
		}
		b.WriteString(piece)
		if b.Len() <= limit-len(ellipsis) {
			fits = b.Len()
		}
		i += size
	}
	return b.String()
}

func cut(text string, fits, limit int) string {
	if limit < len(ellipsis) {
		return text
	}
	return text[:fits] + ellipsis
}

// hostile characters are invalid ones, controls (with C1, where ESC [ has a
// second form), invisible format characters, and line and paragraph separators.
func hostile(r rune, size int) bool {
	return r == utf8.RuneError && size == 1 || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

func escape(r rune, size int, raw string) string {
	switch {
	case r == '\n':
		return `\n`
	case r == '\r':
		return `\r`
	case r == '\t':
		return `\t`
	case r == utf8.RuneError && size == 1, r < 0x80:
		return fmt.Sprintf(`\x%02x`, raw[0])
	case r > 0xffff:
		return fmt.Sprintf(`\U%08x`, r)
	default:
		return fmt.Sprintf(`\u%04x`, r)
	}
}
