package ingress_test

import (
	"encoding/json"
	"strings"
	"testing"

	"moltbot/contracts"
	"moltbot/ingress"
	"moltbot/ingress/filter"
)

func TestMessagesAreFiltered(t *testing.T) {
	r := newRig(t)
	w := r.work(answered)
	for text, want := range map[string]string{
		"a\x00b\x1b": "ab", "p\u200ba\u202es\u2066s\ufeff": "pass", "cafe\u0301\r\n": "café\n", "👨‍👩‍👧 می\u200cخواهم": "👨‍👩‍👧 می\u200cخواهم",
		strings.Repeat("世\u200b", 2048): strings.Repeat("世", 2048), "what? (1 + 1)": "what? (1 + 1)",
	} {
		res := r.post(say(text))
		if res.status != 200 || await(t, "the message", w.taken).Text != want {
			t.Errorf("%.40q: %d %.200s", text, res.status, res.body)
		}
	}
	for text, says := range map[string]string{
		strings.Repeat("世", 2049): "has 2049 characters, at most 2048 are taken", "\u200b\u0000\ufeff ": "must not be empty", "": "must not be empty",
		strings.Repeat("e\u0301", 3000): "has 3000 characters",
	} {
		if p := problem(t, r.post(say(text)), contracts.CodeBadRequest); !strings.Contains(p.Detail, `"message"`) || !strings.Contains(p.Detail, says) {
			t.Errorf("%.40q: %s", text, p.Detail)
		}
	}
	if p := problem(t, r.post(`{"message":"a\ud800"}`), contracts.CodeBadRequest); p.Detail == "" {
		t.Error("half a pair is taken")
	}
}

func TestStrictFilter(t *testing.T) {
	r := newRig(t, func(o *ingress.Options) { o.Filter = filter.Strict })
	w := r.work(answered)
	r.post(say("<b>What's</b> 天气，好吗？ 😀"))
	if m := await(t, "the message", w.taken); m.Text != "bWhatsb 天气，好吗？ " {
		t.Errorf("%q", m.Text)
	}
	problem(t, r.post(say("?!")), contracts.CodeBadRequest)
}

// What a request was does not depend on what the filter made of it.
func TestFilteredRequestIsRepeated(t *testing.T) {
	r := newRig(t)
	r.work(answered)
	first, again := r.post(say("a\u200bb"), "Idempotency-Key: k"), r.post(say("a\u200bb"), "Idempotency-Key: k")
	if first.status != 200 || again.body != first.body || r.stored() != 1 {
		t.Errorf("%d %s\n%d %s", first.status, first.body, again.status, again.body)
	}
	problem(t, r.post(say("ab"), "Idempotency-Key: k"), contracts.CodeKeyReused)
}

func TestCompletionsAreFiltered(t *testing.T) {
	r := newOpenAIRig(t)
	w := r.work(answered)
	r.complete(ask(`{"role":"system","content":"s\u200b\u0000\u202e"},` + user("u\u200b\x00\u202e") +
		`,{"role":"assistant","content":"a\u200b\u0000"},{"role":"user","content":[{"type":"text","text":"e\u0301"},{"type":"text","text":"\u200b"},` +
		`{"type":"image_url","image_url":{"url":"https://x.example/i.png"}}]}`))
	m := await(t, "the message", w.taken)
	const want = `[{"role":"system","text":"s` + "\u200b\u202e" + `"},{"role":"user","text":"u"},{"role":"assistant","text":"a` + "\u200b" +
		`"},{"role":"user","parts":[{"text":"é"},{"image":"https://x.example/i.png"}]}]`
	if prompt, err := contracts.DecodePrompt(m.Prompt); err != nil || m.Text != "é" || len(prompt) != 4 {
		t.Errorf("%q: %v", m.Text, err)
	} else if again, err := contracts.EncodePrompt(prompt); err != nil || again != mustPrompt(t, want) {
		t.Errorf("prompt %+q\nwant %+q", again, want)
	}
	refused(t, r.complete(ask(user("\u200b\u202e"))), 400, "")
}

// mustPrompt gives a prompt in the form that EncodePrompt writes.
func mustPrompt(t *testing.T, text string) string {
	t.Helper()
	messages, err := contracts.DecodePrompt(text)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := contracts.EncodePrompt(messages)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// Neither filter takes from a command what makes it one, nor anything that people
// send on purpose.
func TestFilterLeavesCommands(t *testing.T) {
	for _, mode := range []filter.Mode{filter.Normal, filter.Strict} {
		r := newRig(t, func(o *ingress.Options) { o.Filter = mode })
		w := r.work(answered)
		for _, text := range []string{"/new", "/stop", "/MODEL gpt-4o-mini:free/v1.2", "/模型 qwen/qwen-2.5", "／help", "停止", "/model\t你好-1"} {
			if res := r.post(say(text, `"session_id":"s"`)); res.status != 200 {
				t.Fatalf("%s: %q: %d %s", mode, text, res.status, res.body)
			}
			m := await(t, "the message", w.taken)
			want, _ := contracts.ParseCommand(text)
			if c, ok := contracts.ParseCommand(m.Text); !ok || c != want {
				t.Errorf("%s: %q became %q", mode, text, m.Text)
			}
		}
	}
	r := newRig(t)
	w := r.work(answered)
	for text, want := range map[string]string{
		"```go\r\nfunc f() {\r\n\treturn // \"<x>\" & 'y' \\n\r\n}\r\n```": "```go\nfunc f() {\n\treturn // \"<x>\" & 'y' \\n\n}\n```",
		"{\"a\": [1, null, \"\\u4f60\"],\n\t\"b\": {}}":                    "{\"a\": [1, null, \"\\u4f60\"],\n\t\"b\": {}}",
		"  indented\n\n\n   - list\t| a | b |  ":                           "  indented\n\n\n   - list\t| a | b |  ",
	} {
		body, err := json.Marshal(map[string]string{"message": text})
		if err != nil {
			t.Fatal(err)
		}
		r.post(string(body))
		if m := await(t, "the message", w.taken); m.Text != want {
			t.Errorf("%q became %q", text, m.Text)
		}
	}
}
