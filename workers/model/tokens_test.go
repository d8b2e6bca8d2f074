package model

import (
	"encoding/json"
	"strings"
	"testing"
)

// The provider's count of an answer is taken where it can be that of the text.
func TestTokensOfTheAnswer(t *testing.T) {
	text := strings.Repeat("four", 25) // 100 bytes
	for name, c := range map[string]struct {
		usage    string
		reasoned bool
		want     int
	}{
		"as said":                    {`{"prompt_tokens":1,"completion_tokens":25}`, false, 25},
		"without the reasoning":      {`{"completion_tokens":80,"completion_tokens_details":{"reasoning_tokens":50}}`, true, 30},
		"reasoning of unknown size":  {`{"completion_tokens":80}`, true, 0},
		"more than bytes":            {`{"completion_tokens":101}`, false, 0},
		"hardly any":                 {`{"completion_tokens":5}`, false, 0},
		"nothing said":               {`{}`, false, 0},
		"no object":                  {`7`, false, 0},
		"odd details":                {`{"completion_tokens":25,"completion_tokens_details":[1]}`, false, 25},
		"reasoning beyond the whole": {`{"completion_tokens":25,"completion_tokens_details":{"reasoning_tokens":90}}`, true, 0},
	} {
		r := reply{text: text, usage: believe(json.RawMessage(c.usage)), reasoned: c.reasoned}
		if got := r.tokens(); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
