package filter

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// sieve is one pass over a text. It copies nothing until it drops something.
type sieve struct {
	text    string
	mode    Mode
	context bool // joiners and selectors stay where their neighbours need them

	out    strings.Builder
	copied int  // of text, in out
	prev   rune // the last that stays; 0: none
	before rune // and the one before it
	marks  int  // in a row
}

// The characters that stay in some places only.
const (
	nonJoiner    = '\u200c'
	joiner       = '\u200d'
	asText       = '\ufe0e'
	asEmoji      = '\ufe0f'
	keycap       = '\u20e3'
	firstFreeVar = '\u180b' // Mongolian free variation selectors
	lastFreeVar  = '\u180f'
)

// maxMarks is how many marks one letter may carry. NFC puts a joiner of its own
// behind thirty, and a mark can fall into three; real texts have four or five.
const maxMarks = 8

func (s *sieve) run() string {
	for i := 0; i < len(s.text); {
		r, size := utf8.DecodeRuneInString(s.text[i:])
		got := s.judge(r, size, i)
		if got == r && (r != utf8.RuneError || size > 1) {
			s.before, s.prev = s.prev, r
		} else {
			s.replace(i, size, got)
		}
		i += size
	}
	if s.copied == 0 {
		return s.text
	}
	s.out.WriteString(s.text[s.copied:])
	return s.out.String()
}

// dropped is what judge says of what does not stay.
const dropped = rune(-1)

// replace takes the character at i out and puts r in its place.
func (s *sieve) replace(i, size int, r rune) {
	s.out.WriteString(s.text[s.copied:i])
	s.copied = i + size
	if r != dropped {
		s.out.WriteRune(r)
		s.before, s.prev = s.prev, r
	}
}

// judge gives what stands in the result for the character at i.
func (s *sieve) judge(r rune, size, i int) rune {
	if r < utf8.RuneSelf {
		return s.judgeASCII(byte(r), i)
	}
	switch {
	case '一' <= r && r <= '鿿' || chinese(r): // nothing to think about in most of a Chinese text
		s.marks = 0
		return r
	case r == utf8.RuneError && size == 1:
		return dropped
	case r == '\u0085' || r == '\u2028' || r == '\u2029':
		return '\n'
	case r == joiner || r == nonJoiner || unicode.Is(unicode.Variation_Selector, r):
		if !s.context || !s.needed(r, s.text[i+size:]) {
			return dropped
		}
		s.marks = 0
		return r
	case invisible(r):
		return dropped
	case s.mode == Strict && !wordly(r):
		return dropped
	}
	if !modifies(r) {
		s.marks = 0
	} else if s.marks++; s.marks > maxMarks {
		return dropped
	}
	return r
}

func (s *sieve) judgeASCII(c byte, i int) rune {
	switch {
	case c == '\r' && strings.HasPrefix(s.text[i+1:], "\n"):
		return dropped
	case c == '\r' || c == '\v' || c == '\f':
		s.marks = 0
		return '\n'
	}
	if class := ascii(c); class == control || class == sign && s.mode == Strict {
		return dropped
	}
	s.marks = 0
	return rune(c)
}

// invisible characters are those without a form of their own: controls, formats
// (direction, joiners, tags, soft hyphens, byte order marks), fillers, and what
// will never be a character. Formats that are drawn, such as the Arabic sign of a
// year, are none.
func invisible(r rune) bool {
	switch {
	case unicode.Is(unicode.Cf, r):
		return !unicode.Is(unicode.Prepended_Concatenation_Mark, r)
	case unicode.IsControl(r), unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r):
		return true
	}
	return r&0xfffe == 0xfffe || 0xfdd0 <= r && r <= 0xfdef
}

// wordly characters are those of strict mode.
func wordly(r rune) bool {
	return unicode.In(r, unicode.L, unicode.M, unicode.N) || unicode.IsSpace(r) || cjkPunctuation(r)
}

// chinese punctuation, which stays in every mode.
func chinese(r rune) bool { return r == '，' || r == '。' || r == '、' || r == '！' || r == '？' }

// cjkPunctuation is what Chinese and Japanese sentences are written with. The
// other full-width forms stand for signs of ASCII, which strict mode drops.
func cjkPunctuation(r rune) bool {
	switch r {
	case '，', '！', '？', '：', '；', '（', '）', '、', '。', '〃', '・':
		return true
	}
	return '〈' <= r && r <= '】' || '〔' <= r && r <= '〛'
}

// modifies reports whether a character belongs to the one before it.
func modifies(r rune) bool {
	if unicode.Is(unicode.M, r) {
		return true
	}
	var b [utf8.UTFMax]byte
	return !norm.NFC.Properties(b[:utf8.EncodeRune(b[:], r)]).BoundaryBefore()
}

// needed reports whether a joiner or a selector has a meaning between the last
// character that stays and rest.
func (s *sieve) needed(r rune, rest string) bool {
	next, _ := utf8.DecodeRuneInString(rest)
	emoji := s.mode != Strict
	switch {
	case r == asEmoji || r == asText:
		return emoji && (pictorial(s.prev) || next == keycap && keycapped(s.prev))
	case firstFreeVar <= r && r <= lastFreeVar:
		return unicode.Is(unicode.Mongolian, s.prev) && unicode.IsLetter(s.prev)
	case r == joiner && emoji && pictorial(next) && s.drawn():
		return true
	}
	return (r == joiner || r == nonJoiner) && joins(s.prev)
}

// drawn reports whether the last that stays is, or ends, an emoji.
func (s *sieve) drawn() bool {
	return pictorial(s.prev) || skin(s.prev) || s.prev == asEmoji && pictorial(s.before)
}

func keycapped(r rune) bool { return '0' <= r && r <= '9' || r == '#' || r == '*' }

// skin is a modifier of an emoji.
func skin(r rune) bool { return 0x1f3fb <= r && r <= 0x1f3ff }

// pictorial reports whether a character can be drawn as an emoji. It says so of
// other symbols, too, and of places where later emoji will be.
func pictorial(r rune) bool {
	switch r {
	case '\u203c', '\u2049', '\u2139', '\u3030': // punctuation and a letter that are emoji
		return true
	case utf8.RuneError: // also where the text ends
		return false
	}
	return r > utf8.RuneSelf && unicode.In(r, unicode.So, unicode.Sm) || 0x1f000 <= r && r <= 0x1faff && !skin(r)
}

// joins reports whether a character is a letter or mark of a script that shapes
// letters by their neighbours.
func joins(r rune) bool {
	if '\u064b' <= r && r <= '\u0670' || '\u0951' <= r && r <= '\u0954' || '\u1cd0' <= r && r <= '\u1cff' {
		return true // marks that several of these scripts share
	}
	return r > utf8.RuneSelf && unicode.In(r, unicode.L, unicode.M) && unicode.In(r,
		unicode.Arabic, unicode.Syriac, unicode.Mongolian, unicode.Nko, unicode.Mandaic, unicode.Hanifi_Rohingya, unicode.Adlam,
		unicode.Devanagari, unicode.Bengali, unicode.Gurmukhi, unicode.Gujarati, unicode.Oriya, unicode.Tamil, unicode.Telugu,
		unicode.Kannada, unicode.Malayalam, unicode.Sinhala, unicode.Khmer, unicode.Myanmar, unicode.Tibetan, unicode.Balinese,
		unicode.Javanese)
}
