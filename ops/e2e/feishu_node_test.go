package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"moltbot/ops/e2e/platform"
)

// TestFeishuEventsOfTheNodeSDK lets Feishu's official Node SDK play the platform
// for the events of one chat, and judge what our stand-in sends elsewhere.
func TestFeishuEventsOfTheNodeSDK(t *testing.T) {
	t.Parallel() // it waits more than it works
	dir := clientForJS(t, "feishu_platform.mjs")
	c := connect(t, shape{workers: 1, model: newParrot(t)}, platform.Options{})
	type event struct {
		ID      string            `json:"id"`
		Plain   string            `json:"plain"`
		Headers map[string]string `json:"headers"`
		Body    string            `json:"body"`
	}
	texts := []string{"你好", "line\nbreak \"quoted\" 😀"}
	var events []event
	for _, text := range texts {
		in := c.feishu.Write(platform.Message{Chat: "oc_node", User: "ou_node", Direct: true, Text: text})
		e := event{ID: in.ID, Plain: string(c.feishu.Event(in)), Headers: map[string]string{}}
		header, body := c.feishu.Request(in)
		for k := range header {
			e.Headers[k] = header.Get(k)
		}
		e.Body = string(body)
		events = append(events, e)
	}
	b, err := json.Marshal(events)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	node := exec.CommandContext(ctx, "node", "feishu_platform.mjs")
	node.Dir = dir
	node.Env = append(os.Environ(), "WEBHOOK="+c.base+"/feishu/webhook", "ENCRYPT_KEY="+feishuApp.EncryptKey,
		"VERIFICATION_TOKEN="+feishuApp.VerificationToken, "EVENTS="+string(b))
	out, err := node.CombinedOutput()
	if err != nil || strings.Count(string(out), "ok ") != len(texts)+1 {
		c.dump()
		t.Fatalf("%v\n%s", err, out)
	}
	all := c.shown(ctx, platform.Feishu, "oc_node", func(all []platform.Shown) bool { return len(all) >= len(texts) })
	for i, text := range texts {
		if _, heard, _ := strings.Cut(all[i].Text, ": "); heard != text || all[i].To != events[i].ID {
			t.Errorf("answer %d is %+v, want it to hear %q", i, all[i], text)
		}
	}
	c.clean()
}
