package model

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/openai/openai-go/v3/packages/ssestream"
)

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1e99}}`))
	f.Add([]byte("data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\r\n\r\ndata: [DONE]\n\n"))
	f.Add([]byte(": x\nevent: error\ndata: {\"error\":{}}\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := decodePlain(strings.NewReader(string(b))); err == nil {
			sound(t, r)
		}
		var shown strings.Builder
		s := &stream{
			dec:     ssestream.NewDecoder(&http.Response{Body: io.NopCloser(strings.NewReader(string(b)))}),
			onToken: func() {}, onEnd: func() {}, onDelta: func(d string) { shown.WriteString(d) },
		}
		r, err := s.decode()
		if err != nil {
			return
		}
		sound(t, r)
		if shown.String() != r.text {
			t.Fatalf("shown %q, answered %q", shown.String(), r.text)
		}
	})
}

func sound(t *testing.T, r reply) {
	t.Helper()
	for _, n := range []int{r.usage.PromptTokens, r.usage.CompletionTokens} {
		if n < -1 || n > maxTokens {
			t.Fatalf("usage %+v", r.usage)
		}
	}
	if !utf8.ValidString(r.text) {
		t.Fatalf("text %q", r.text)
	}
	if finish, err := finished(r); err == nil && (strings.TrimSpace(r.text) == "" || finish == "") {
		t.Fatalf("an empty answer passes: %+v", r)
	}
}

func FuzzRedact(f *testing.F) {
	const key = "sk-canary-0123456789"
	f.Add("a ", " b", 3, 15)
	f.Fuzz(func(t *testing.T, before, after string, from, to int) {
		if from < 0 || to > len(key) || to-from < window {
			return
		}
		out := newRedactor(key).clean(before + key[from:to] + after)
		for i := 0; i+window <= len(key); i++ {
			if strings.Contains(out, key[i:i+window]) {
				t.Fatalf("%q leaks", out)
			}
		}
		if len(out) > maxChain+len("…") || !utf8.ValidString(out) {
			t.Fatalf("%d bytes: %q", len(out), out)
		}
	})
}

func TestDemo(t *testing.T) {
	talk := []Message{
		{Role: RoleSystem, Text: "s"}, {Role: RoleUser, Text: "my name is Ann"}, {Role: RoleAssistant, Text: "hello"},
		{Role: RoleUser, Text: "previous"}, {Role: RoleAssistant, Text: "ok"}, {Role: RoleUser, Text: "who am I?"},
	}
	var shown string
	a, err := Demo{}.Complete(t.Context(), Request{Messages: talk, OnDelta: func(d string) { shown += d }})
	if err != nil || shown != a.Text || a.Version != "demo/demo" || a.Finish != "stop" {
		t.Fatalf("answer = %+v, %v", a, err)
	}
	for _, part := range []string{"demo", "4 messages", "my name is Ann", "previous", "who am I?"} {
		if !strings.Contains(a.Text, part) {
			t.Errorf("no %q in %q", part, a.Text)
		}
	}
	talk[5].Text = "我是谁？" + strings.Repeat("长", 100)
	if text := demoText(talk); !strings.Contains(text, "有 4 条消息") || !strings.Contains(text, "长…") {
		t.Errorf("text = %q", text)
	}
	if text := demoText(talk[5:]); !strings.Contains(text, "第一条消息") {
		t.Errorf("text = %q", text)
	}
	if text := demoText(nil); text == "" {
		t.Error("no answer to nothing")
	}
}

func TestDemoTakesItsTimeButNotTheCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		if _, err := (Demo{Delay: time.Hour}).Complete(t.Context(), Request{}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != time.Hour {
			t.Errorf("took %s", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := (Demo{Delay: time.Hour}).Complete(ctx, Request{}); fmt.Sprint(err) != "ask the demo model: context deadline exceeded" {
			t.Errorf("err = %v", err)
		}
	})
}
