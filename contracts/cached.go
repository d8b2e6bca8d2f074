package contracts

import (
	"fmt"
	"time"
)

// CachedAnswer is an answer as it lies sealed under KeyCache.
type CachedAnswer struct {
	Version      int
	Text         string
	ToolCalls    []ToolCall
	Model        string
	ModelVersion string
	Finish       string
	Usage        Usage
	Tokens       int       // of Text alone; 0: not known
	At           time.Time // when it was made
}

// EncodeCachedAnswer gives the plain bytes to be sealed.
func EncodeCachedAnswer(a CachedAnswer) []byte {
	w := newFields(64 + len(a.Text) + len(a.Model) + len(a.ModelVersion))
	w.text(a.Text, encodeToolCalls(a.ToolCalls), a.Model, a.ModelVersion, a.Finish)
	w.number(a.Usage.PromptTokens, a.Usage.CompletionTokens, a.Tokens)
	w.time(a.At)
	return w.b
}

// DecodeCachedAnswer reads what EncodeCachedAnswer wrote.
func DecodeCachedAnswer(b []byte) (a CachedAnswer, err error) {
	if err := versioned(b); err != nil {
		return a, fmt.Errorf("decode cached answer: %w", err)
	}
	r := readFields(b)
	a = CachedAnswer{Version: Version, Text: r.text()}
	calls := r.text()
	a.Model, a.ModelVersion, a.Finish = r.text(), r.text(), r.text()
	a.Usage = Usage{PromptTokens: r.number(), CompletionTokens: r.number()}
	a.Tokens, a.At = r.number(), r.time()
	if a.ToolCalls, err = decodeToolCalls(calls); err != nil {
		return CachedAnswer{}, fmt.Errorf("decode cached answer: %w", err)
	}
	if err := r.end(); err != nil {
		return CachedAnswer{}, fmt.Errorf("decode cached answer: %w", err)
	}
	return a, nil
}
