package model

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

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
