// Package filter takes out of a user's text what a reader cannot see or a model
// should not: broken UTF-8, control, invisible and direction-changing characters.
// It changes no meaning that a script or an emoji has, and never judges a text.
package filter

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Mode says how much is taken out.
type Mode string

// The modes.
const (
	// Normal leaves all that can be seen.
	Normal Mode = "normal"
	// Strict leaves letters, marks, digits, the low line, white space, and the
	// punctuation of Chinese and Japanese.
	Strict Mode = "strict"
)

// Known reports whether m is a mode.
func (m Mode) Known() bool { return m == Normal || m == Strict }

// Text gives what is left of a text, in NFC. Filtering it again changes nothing.
// It has at most three times the bytes of the text, and mostly fewer.
func Text(text string, mode Mode) string {
	if plainASCII(text, mode) {
		return text
	}
	// What is dropped brings together what was apart, and what NFC composes may be
	// something else to its neighbours, so it is looked at until nothing changes.
	// That takes two rounds as a rule; after some more nothing depends on
	// neighbours any more, so that it must end.
	for round := 0; ; round++ {
		s := sieve{text: text, mode: mode, context: round < maxRounds}
		next := norm.NFC.String(s.run())
		if next == text {
			return text
		}
		text = next
	}
}

// Others gives a text that is no user's, such as what a tool gave back: it only
// loses what no protocol behind us takes, broken UTF-8 and NUL.
func Others(text string) string {
	if utf8.ValidString(text) && strings.IndexByte(text, 0) < 0 {
		return text
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, ""), "\x00", "")
}

const maxRounds = 8

// plainASCII reports whether there is nothing to do, at the first look.
func plainASCII(text string, mode Mode) bool {
	for i := range len(text) {
		c := text[i]
		if mode == Strict && ascii(c) != word || (c < ' ' || c > '~') && c != '\n' && c != '\t' {
			return false
		}
	}
	return true
}

// What a byte of ASCII is.
const (
	control = iota
	sign
	word // or white space
)

func ascii(c byte) int {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == ' ', c == '\n', c == '\t':
		return word
	case ' ' < c && c < 0x7f:
		return sign
	}
	return control
}
