package model

import "testing"

func TestEncode(t *testing.T) {
	zero := 0.0
	r := Request{
		Messages: []Message{{Role: RoleSystem, Text: "be\nkind"}, {Role: RoleUser, Text: "\"你好\" \xff"}, {Role: RoleAssistant, Text: ""}}, User: "u",
	}
	const messages = `"messages":[{"role":"system","content":"be\nkind"},{"role":"user","content":"\"你好\" \ufffd"},{"role":"assistant","content":""}],"user":"u"`
	for name, c := range map[string]struct {
		with OpenAI
		want string
	}{
		"bare":    {OpenAI{}, `{"model":"m",` + messages + `}`},
		"limited": {OpenAI{opts: Options{MaxTokens: 7, Temperature: &zero}}, `{"model":"m",` + messages + `,"temperature":0,"max_tokens":7}`},
		"OpenAI":  {OpenAI{opts: Options{MaxTokens: 7}, newLimit: true}, `{"model":"m",` + messages + `,"max_completion_tokens":7}`},
		"streamed": {
			OpenAI{opts: Options{Stream: true}}, `{"model":"m",` + messages + `,"stream":true,"stream_options":{"include_usage":true}}`,
		},
	} {
		got, err := c.with.encode("m", r)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %s, %v, want %s", name, got, err, c.want)
		}
	}
}
