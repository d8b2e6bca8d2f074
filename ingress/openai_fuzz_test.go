package ingress

import (
	"encoding/json"
	"errors"
	"testing"
	"unicode/utf8"

	"moltbot/contracts"
	"moltbot/ingress/filter"
)

// FuzzCompletion: what passes becomes a message that the workers can read, and
// means the same to them; what does not is refused with a code and a short text.
func FuzzCompletion(f *testing.F) {
	for _, s := range []string{
		`{"model":"m","messages":[{"role":"user","content":"hi"}]}`,
		`{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"https://x/y","detail":"low"}}]}],"stream":true}`,
		`{"model":"m","messages":[{"role":"user","content":"x"},{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"y"}]}`,
		`{"model":"m","messages":[{"role":"user","content":"hi"}],"temperature":0.5,"top_p":1,"max_tokens":1,"stop":["a","b"],"seed":1,"presence_penalty":-1,"frequency_penalty":1,"reasoning_effort":"low","n":1,"cache":false}`,
		`{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"auto","parallel_tool_calls":true,"response_format":{"type":"text"}}`,
		`{"model":"m","messages":[{"role":"user","content":"<\u2028>"}],"user":"u","stop":"x"}`, `{"model":1}`, `[]`, ``, `{"messages":[{"role":"user","content":{}}],"model":"m"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := decodeLenient(body)
		var d *draft
		if err == nil {
			d, err = r.draft(nil, filter.Normal)
		}
		if err != nil {
			var e *contracts.Error
			if !errors.As(err, &e) || e.Code != contracts.CodeBadRequest && e.Code != contracts.CodeTooLarge || e.Message == "" || len(e.Message) > 400 || !utf8.ValidString(e.Message) {
				t.Fatalf("%q: %v", body, err)
			}
			b, err := json.Marshal(openAIError(err, e))
			if err != nil || len(b) > 2000 {
				t.Fatalf("%q: %s %v", body, b, err)
			}
			return
		}
		messages, err := contracts.DecodePrompt(d.message.Prompt)
		if err != nil || len(messages) != len(r.Messages) {
			t.Fatalf("%q: prompt %q: %v", body, d.message.Prompt, err)
		}
		if _, err := contracts.DecodeParams(d.message.Params); err != nil {
			t.Fatalf("%q: params %q: %v", body, d.message.Params, err)
		}
		if !utf8.ValidString(d.message.Prompt) || d.message.Text == "" || !utf8.ValidString(d.message.Text) {
			t.Fatalf("%q: text %q", body, d.message.Text)
		}
		if again, err := contracts.EncodePrompt(messages); err != nil || again != d.message.Prompt {
			t.Fatalf("%q: prompt %q, again %q: %v", body, d.message.Prompt, again, err)
		}
	})
}
