package shown

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// gap is put where a sign must not be understood: it is not seen.
const gap = "\u200B"

// calmer takes the effect out of what a model wrote, and leaves it to be read.
type calmer struct {
	hosts bool // links are limited
	code  bool // keep what has no effect within code
}

var (
	// everybody is what platforms take for all members behind an at sign, or an
	// entity that may become it.
	everybody = regexp.MustCompile(`(?i)^(?:&|all|every|here|channel|user|所有|全体|全體|全员|全員|大家)`)
	entity    = regexp.MustCompile(`(?i)^&(?:#|[a-z][a-z0-9]{0,31};|lt|gt|amp|commat|excl|lsqb|lbrack)`)
	entityAt  = regexp.MustCompile(`(?i)^&(?:amp;|#0*38;|#x0*26;)*(?:lt|commat|#0*6[04]|#x0*(?:3c|40));?`)
	tagName   = regexp.MustCompile(`(?i)^(?:&|at(?:[^a-z0-9]|$))`)
	image     = regexp.MustCompile(`^!\[[^\]]{0,999}\]\s*[(\[]`)
	target    = regexp.MustCompile(`^\]\s*\(\s*<?\s*([A-Za-z][A-Za-z0-9+.-]*):`)
	address   = regexp.MustCompile(`(?i)www\.[a-z0-9.-]*|[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}[/?#:]`)
)

// signs are where text looks closer.
const signs = "@＠﹫<&!]:`~"

// text gives s so that nothing in it acts. more says that something follows it,
// which could complete a sign at its end.
func (c calmer) text(s string, more bool) string {
	if c.hosts && !c.code {
		s = address.ReplaceAllStringFunc(s, func(a string) string { return strings.ReplaceAll(a, ".", gap+".") })
	}
	if !strings.ContainsAny(s, signs) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	for i := 0; i < len(s); {
		j := strings.IndexAny(s[i:], signs)
		if j < 0 {
			b.WriteString(s[i:])
			break
		}
		b.WriteString(s[i : i+j])
		i += j
		r, n := utf8.DecodeRuneInString(s[i:])
		b.WriteString(c.sign(s, i, r, more))
		i += n
	}
	return b.String()
}

// sign gives the sign r at s[i:], with a gap behind it or as a harmless twin where
// it would act.
func (c calmer) sign(s string, i int, r rune, more bool) string {
	here, rest := s[i:i+utf8.RuneLen(r)], s[i+utf8.RuneLen(r):]
	acts := false
	switch r {
	case '@', '＠', '﹫':
		acts = c.pings(s[:i], rest, more)
	case '<':
		if acts = c.opens(rest, more); acts && !c.code {
			return "＜"
		}
	case '&':
		acts = c.spells(s[i:])
	case '!':
		acts = c.code && (image.MatchString(s[i:]) || more && strings.HasPrefix(rest, "[") && !strings.Contains(rest, "]")) || !c.code && (strings.HasPrefix(bared(rest), "[") || more && bared(rest) == "")
	case ']':
		acts = c.leads(s[i:], rest, more)
	case ':':
		acts = !c.code && c.scheme(s[:i], rest)
	case '`', '~':
		acts = strings.HasSuffix(s[:i], here) && strings.HasPrefix(rest, here) || more && rest == "" && strings.HasSuffix(s[:i], here)
	}
	if acts {
		return here + gap
	}
	return here
}

// bared skips what a platform may not see, or take for markup.
func bared(s string) string {
	return strings.TrimLeftFunc(s, func(r rune) bool {
		return r == '\\' || joins(r) || r >= '\uFE00' && r <= '\uFE0F'
	})
}

// bounded skips also spaces and the marks of emphasis.
func bounded(s string) string {
	return strings.TrimLeftFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || strings.ContainsRune("\\*_~`/", r) || joins(r) || r >= '\uFE00' && r <= '\uFE0F'
	})
}

// pings reports whether an at sign before rest may call somebody.
func (c calmer) pings(before, rest string, more bool) bool {
	word := bounded(rest)
	if word == "" {
		return more
	}
	if everybody.MatchString(word) {
		return true
	}
	word = bared(rest)
	if n := strings.IndexFunc(word, func(r rune) bool { return r < '0' || r > '9' }); n != 0 && (n > 5 || n < 0 && len(word) > 5) {
		return true // a telephone number or a user id
	}
	if c.code {
		return false
	}
	r, _ := utf8.DecodeRuneInString(word)
	if !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '$' {
		return false
	}
	name := strings.IndexFunc(word, func(r rune) bool { return r > 'z' || !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '-' })
	last, _ := utf8.DecodeLastRuneInString(before)
	mail := name > 0 && word[name] == '.' && last < utf8.RuneSelf && (unicode.IsLetter(last) || unicode.IsDigit(last))
	return !mail
}

// opens reports whether a < before rest begins a tag.
func (c calmer) opens(rest string, more bool) bool {
	if word := bounded(rest); tagName.MatchString(word) || word == "" && more {
		return true
	}
	if c.code {
		return false
	}
	r, _ := utf8.DecodeRuneInString(bared(rest))
	return r == '/' || r == '!' || r == '?' || r < utf8.RuneSelf && unicode.IsLetter(r)
}

// spells reports whether s begins with an entity that a platform may decode.
func (c calmer) spells(s string) bool {
	if !c.code {
		return entity.MatchString(s)
	}
	m := entityAt.FindString(s)
	if m == "" {
		return false
	}
	word := bounded(s[len(m):])
	return tagName.MatchString(word) || everybody.MatchString(word) || word != "" && word[0] >= '0' && word[0] <= '9'
}

// leads reports whether a ] at the beginning of s has a target behind it.
func (c calmer) leads(s, rest string, more bool) bool {
	if c.code {
		m := target.FindStringSubmatch(s)
		return m != nil && !harmless(strings.ToLower(m[1]))
	}
	next := strings.TrimLeftFunc(bared(rest), unicode.IsSpace)
	return next == "" && more || next != "" && strings.ContainsRune("([:", rune(next[0]))
}

// scheme reports whether a colon between before and rest makes an address that
// clients may make a link of.
func (c calmer) scheme(before, rest string) bool {
	n := len(before)
	for n > 0 && (before[n-1]|0x20 >= 'a' && before[n-1]|0x20 <= 'z' || before[n-1] >= '0' && before[n-1] <= '9' || strings.IndexByte("+.-", before[n-1]) >= 0) {
		n--
	}
	name := strings.ToLower(before[n:])
	switch name {
	case "":
		return strings.HasPrefix(rest, "//") // of a name that markup cut
	case "http", "https":
		return c.hosts && strings.HasPrefix(rest, "//")
	case "javascript", "vbscript", "data", "file":
		return rest != "" && !unicode.IsSpace(rune(rest[0]))
	}
	return strings.HasPrefix(rest, "//")
}
