package upstream

import (
	"encoding/base64"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	window   = 8   // so many bytes of the key in a row are taken for the key
	maxChain = 512 // bytes of a provider's text kept for the operator
	redacted = "[key]"
)

// redactor takes the keys out of texts that a provider wrote: whole, in parts of
// at least window bytes, URL-escaped or in base64.
type redactor struct {
	keys  []string
	parts map[string]struct{}
}

func newRedactor(keys []string) redactor {
	r := redactor{keys: keys, parts: map[string]struct{}{}}
	for _, key := range keys {
		for _, form := range []string{
			key, url.QueryEscape(key), url.PathEscape(key), base64.StdEncoding.EncodeToString([]byte(key)),
		} {
			for i := 0; i+window <= len(form); i++ {
				r.parts[form[i:i+window]] = struct{}{}
			}
		}
	}
	return r
}

// clean gives one printable line of at most maxChain bytes without a key. It
// redacts first: a cut through the key would hide it from the search.
func (r redactor) clean(text string) string {
	text = r.redact(text)
	text = strings.Map(func(c rune) rune {
		if c == utf8.RuneError || !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, text)
	if len(text) <= maxChain {
		return text
	}
	return strings.ToValidUTF8(text[:maxChain], "") + "…"
}

func (r redactor) redact(text string) string {
	var out strings.Builder
	for _, key := range r.keys {
		if len(key) < window { // longer ones are found by their parts, however they overlap
			text = strings.ReplaceAll(text, key, redacted)
		}
	}
	end := 0 // up to here the text is written or redacted
	for i := 0; i+window <= len(text); i++ {
		if _, secret := r.parts[text[i:i+window]]; !secret {
			continue
		}
		if i >= end {
			out.WriteString(text[end:i])
			out.WriteString(redacted)
		}
		end = i + window
	}
	out.WriteString(text[end:])
	return out.String()
}
