package im

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Limits of a callback's JSON.
const (
	maxDepth  = 32
	maxTokens = 1 << 16 // names, values and brackets
	maxID     = 512     // bytes; the longest that is known has under 100
)

// Decode reads a JSON object of a platform into v: no member twice, no wrong type,
// valid UTF-8, nothing behind it, 32 levels at most. Members that v does not know
// are passed over, because platforms add some every month.
func Decode(body []byte, v any) error {
	if err := checkForm(body); err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%w: a member has another type", ErrMalformed)
	}
	return nil
}

// checkForm looks at all of a body without building anything of it.
func checkForm(body []byte) error {
	d := jsontext.NewDecoder(bytes.NewReader(body))
	if d.PeekKind() != jsontext.KindBeginObject {
		return fmt.Errorf("%w: it is no JSON object", ErrMalformed)
	}
	for n := 0; ; n++ {
		_, err := d.ReadToken()
		switch {
		case errors.Is(err, io.EOF) && d.StackDepth() == 0:
			return nil
		case err != nil:
			return fmt.Errorf("%w: the JSON is broken, or names a member twice", ErrMalformed)
		case n == maxTokens || d.StackDepth() > maxDepth:
			return fmt.Errorf("%w: the JSON is nested too deep or has too many values", ErrMalformed)
		}
	}
}

// ID refuses what no platform uses as an id: nothing at all, control characters, and
// what is too long. Ids become parts of paths, headers and log lines.
func ID(s string) error {
	if s == "" {
		return fmt.Errorf("%w: an id is missing", ErrMalformed)
	}
	return OptionalID(s)
}

// OptionalID is ID for one that may be missing.
func OptionalID(s string) error {
	if len(s) > maxID || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("%w: an id is too long or has control characters", ErrMalformed)
	}
	return nil
}

// Digits in a time, by its unit.
const (
	secondDigits = 10
	milliDigits  = 13
	microDigits  = 16
)

// Time reads a Unix time in seconds, milliseconds or microseconds: its length says
// which. Digits only, as the platform writes them.
func Time(s string) (time.Time, error) {
	var n int64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' || i == microDigits || i == 0 && s[i] == '0' {
			return time.Time{}, fmt.Errorf("%w: a time is no number", ErrMalformed)
		}
		n = n*10 + int64(s[i]-'0')
	}
	switch len(s) {
	case secondDigits:
		return time.Unix(n, 0).UTC(), nil
	case milliDigits:
		return time.UnixMilli(n).UTC(), nil
	case microDigits:
		return time.UnixMicro(n).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("%w: a time has an unknown unit", ErrMalformed)
}

// Kind is a platform's own name of an event as Event.Kind: a word of at most 64
// characters.
func Kind(name string) string {
	name = strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f {
			return '_'
		}
		return r
	}, name)
	return name[:min(len(name), 64)]
}
