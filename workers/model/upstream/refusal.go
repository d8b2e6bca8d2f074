package upstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	maxRefusal = 4 << 10   // bytes read of a refusal's body
	maxAsked   = time.Hour // longest Retry-After that is remembered
)

// Refusal is an error that the provider reports: an answer with another status
// than 2xx, or an error in the body of one.
type Refusal struct {
	status int           // 0: it came in the body of a 200
	asked  time.Duration // from Retry-After; 0: it did not say
	about  about
	text   string // what of its body may be logged, see hint
}

func (r Refusal) Error() string {
	if r.status == 0 {
		return "the provider reports: " + r.text
	}
	return fmt.Sprintf("status %d: %s", r.status, r.text)
}

// about is what a refusal is about, where the status does not tell.
type about int

const (
	aboutNothing about = iota
	aboutLength        // the prompt is too long
	aboutMoney         // the quota is used up or the bill unpaid
	aboutContent       // a filter
	aboutModel         // the model is not known, or not for this key
)

// readRefusal reads what is not 2xx.
func readRefusal(res *http.Response, now time.Time) Refusal {
	defer res.Body.Close()
	// A body that cannot be read does not change what the status says.
	b, _ := io.ReadAll(io.LimitReader(res.Body, maxRefusal))
	r := Reported(b)
	r.status, r.asked = res.StatusCode, retryAfter(res.Header.Get("Retry-After"), now)
	switch r.status {
	case http.StatusPaymentRequired:
		r.about = aboutMoney
	case http.StatusRequestEntityTooLarge:
		r.about = aboutLength
	}
	return r
}

// Reported is the refusal that the body of a good answer holds.
func Reported(body []byte) Refusal {
	text, kind := hint(body)
	return Refusal{text: text, about: kind}
}

// WithStatus gives the refusal the status that its text stands for.
func (r Refusal) WithStatus(status int) Refusal {
	r.status = status
	return r
}

// retryAfter reads seconds or an HTTP date, at most maxAsked.
func retryAfter(header string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(header, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(n, uint64(maxAsked/time.Second))) * time.Second
	}
	at, err := http.ParseTime(header)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxAsked)
}

// word is what a provider's error type or code looks like.
var word = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

type subjectWords struct {
	words string
	about about
}

// subjects are the words by which providers say what an error is about: their
// codes, and parts of the messages of those that have no code for it.
var subjects = []subjectWords{
	{"context_length_exceeded", aboutLength},
	{"exceed_context_size", aboutLength},           // llama.cpp
	{"request_too_large", aboutLength},             // Anthropic
	{"prompt is too long", aboutLength},            // Anthropic
	{"exceed context limit", aboutLength},          // Anthropic, with max_tokens
	{"maximum context length", aboutLength},        // OpenAI, DeepSeek, vLLM
	{"request too large for", aboutLength},         // OpenAI, with a 429: more than a whole minute is allowed
	{"insufficient_quota", aboutMoney},             // OpenAI
	{"billing_hard_limit_reached", aboutMoney},     // OpenAI
	{"billing_error", aboutMoney},                  // Anthropic
	{"your credit balance is too low", aboutMoney}, // Anthropic, with a 400
	{"insufficient balance", aboutMoney},           // DeepSeek
	{"content_filter", aboutContent},               // Azure
	{"content_policy_violation", aboutContent},     // OpenAI
	{"flagged_input", aboutContent},                // OpenRouter, with a 403
	{"model_not_found", aboutModel},                // OpenAI, with a 403 for a model that the project may not use
}

// hint gives what of a provider's error body may stand in a log: its type and
// code. Its message is left out, because providers quote the prompt in it, and
// conversation content must not get into logs.
func hint(body []byte) (string, about) {
	var plain map[string]json.RawMessage
	if json.Unmarshal(body, &plain) != nil {
		return "no error document", aboutNothing
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
		words = []string{"no type or code given"}
	}
	return strings.Join(words, ", "), subject(fields)
}

// in reports whether a message says so. Providers quote names and parameters in
// messages, which callers choose: what all calls would suffer for, a message must
// begin with.
func (s subjectWords) in(message string) bool {
	if s.about == aboutMoney || s.about == aboutModel {
		return strings.HasPrefix(message, s.words)
	}
	return strings.Contains(message, s.words)
}

// subject looks at the type and the code, at the beginning of the message, where
// no prompt is quoted yet, and at the names of the metadata.
func subject(fields map[string]json.RawMessage) about {
	const beginning = 200
	var message string
	_ = json.Unmarshal(fields["message"], &message)
	var metadata map[string]json.RawMessage
	_ = json.Unmarshal(fields["metadata"], &metadata)
	code := string(fields["type"]) + " " + string(fields["code"])
	if _, flagged := metadata["flagged_input"]; flagged {
		code += " flagged_input"
	}
	code, message = strings.ToLower(code), strings.ToLower(message[:min(len(message), beginning)])
	for _, s := range subjects {
		if strings.Contains(code, s.words) || s.in(message) {
			return s.about
		}
	}
	return aboutNothing
}
