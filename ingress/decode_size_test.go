package ingress

import (
	"runtime"
	"strings"
	"testing"

	"moltbot/contracts"
)

// A few bytes of a list cost many in memory, so their number is bounded before
// anything is built of them.
func TestManyTokensCostLittle(t *testing.T) {
	const size = 960 << 10
	many := func(one string) string { return strings.Repeat(one+",", size/len(one)) + one }
	for name, body := range map[string]string{
		"messages": `{"model":"m","messages":[` + many("{}") + `]}`,
		"calls":    `{"model":"m","messages":[{"role":"user","tool_calls":[` + many("{}") + `]}]}`,
		"parts":    `{"model":"m","messages":[{"role":"user","content":[` + many("{}") + `]}]}`,
		"unknown":  `{"model":"m","x":[` + many("1") + `]}`,
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := decodeLenient([]byte(body))
		runtime.ReadMemStats(&after)
		if e := publicError(err); err == nil || e.Code != contracts.CodeBadRequest || !strings.Contains(e.Message, "more than 65536") {
			t.Errorf("%s: %v", name, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 {
			t.Errorf("%s: %d bytes were allocated for %d", name, n, len(body))
		}
	}
	if _, err := decodeLenient([]byte(`{"model":"m","x":[` + strings.Repeat("1,", maxTokens-10) + `1]}`)); err != nil {
		t.Errorf("as many as may be: %v", err)
	}
}

// What a member must be is said in the words of JSON.
func TestWordsForTypes(t *testing.T) {
	for member, want := range map[string]string{
		`"temperature":1e400`: "a number", `"top_p":"x"`: "a number", `"seed":"x"`: "a whole number", `"max_tokens":1.5`: "a whole number",
		`"parallel_tool_calls":1`: "true or false", `"stream_options":[]`: "an object", `"messages":{}`: "a list", `"model":1`: "a string",
	} {
		_, err := decodeLenient([]byte(`{` + member + `}`))
		if err == nil || !strings.HasSuffix(err.Error(), " must be "+want) {
			t.Errorf("%s: %v", member, err)
		}
	}
}
