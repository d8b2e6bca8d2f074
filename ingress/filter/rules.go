package filter

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Rules are what a channel asks of a user's text.
type Rules struct {
	Mode     Mode
	MaxChars int // of what the filter leaves
}

// ErrEmpty is the refusal of a text that says nothing.
var ErrEmpty = errors.New("must not be empty; control and invisible characters do not count")

// TooLong is the refusal of a text with too many characters.
type TooLong struct{ Chars, Most int }

// Error gives both numbers.
func (e TooLong) Error() string {
	return fmt.Sprintf("has %d characters, at most %d are taken", e.Chars, e.Most)
}

// Take filters a text, or refuses it: with ErrEmpty or a TooLong.
func (r Rules) Take(text string) (string, error) {
	text = Text(text, r.Mode)
	if strings.TrimSpace(text) == "" {
		return "", ErrEmpty
	}
	if len(text) > r.MaxChars { // a character is at least a byte
		if n := utf8.RuneCountInString(text); n > r.MaxChars {
			return "", TooLong{n, r.MaxChars}
		}
	}
	return text, nil
}
