package model

import (
	"encoding/json"
	"regexp"
	"strings"
)

// word is what a provider's error type or code looks like.
var word = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// hint gives what of a provider's error body may stand in a log: its type and
// code. Its message is left out, because providers quote the prompt in it, and
// conversation content must not get into logs.
func hint(body []byte) string {
	var plain map[string]json.RawMessage
	if json.Unmarshal(body, &plain) != nil {
		return "no error document"
	}
	fields := plain
	if inner := plain["error"]; inner != nil {
		var e map[string]json.RawMessage
		if json.Unmarshal(inner, &e) == nil {
			fields = e
		}
	}
	var words []string
	for _, name := range []string{"type", "code"} {
		text := strings.Trim(string(fields[name]), `"`)
		if word.MatchString(text) && text != "null" {
			words = append(words, name+" "+text)
		}
	}
	if len(words) == 0 {
		return "no type or code given"
	}
	return strings.Join(words, ", ")
}
