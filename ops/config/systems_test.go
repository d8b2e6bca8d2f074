package config

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func TestSystemsAreRead(t *testing.T) {
	path := write(t, "c.yaml", `
session:
  system: default
  systems:
    - {pattern: "^/zh/", system: "请用中文回答。"}
    - pattern: "^/plain/"
      system: ""
`)
	c, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []System{{"^/zh/", "请用中文回答。"}, {"^/plain/", ""}}
	if !reflect.DeepEqual(c.Session.Systems, want) || c.Session.System != "default" || c.Session.Rounds != 10 {
		t.Errorf("%+v", c.Session)
	}
	var shown bytes.Buffer
	if err := c.Show(&shown, "yaml"); err != nil {
		t.Fatal(err)
	}
	again, err := Load(write(t, "again.yaml", shown.String()), nil)
	if err != nil || !reflect.DeepEqual(again.Session, c.Session) {
		t.Errorf("shown and read again: %+v, %v\n%s", again.Session, err, shown.String())
	}
}

func TestSystemsAreChecked(t *testing.T) {
	for content, says := range map[string]string{
		"session:\n  systems: x":                                              "must be a list",
		"session:\n  systems: [x]":                                            "session.systems[0]",
		"session:\n  systems: [{pattern: '('}]":                               "session.systems[0].pattern: must be a regular expression",
		"session:\n  systems: [{system: x}]":                                  "must be a regular expression",
		"session:\n  systems: [{pattern: x, prompt: y}]":                      "unknown",
		"session:\n  systems: []\n  systems: []":                              "twice",
		"session:\n  system: x\n  systmes: []":                                "session.system",
		"session:\n  message_tokens: 63":                                      "must be 0 or at least 64",
		"session:\n  tokens: 63":                                              "must be at least 64",
		"session:\n  message_tokens: -1":                                      "must not be negative",
		"http:\n  filter: lax":                                                "must be normal or strict",
		"session:\n  systems: [" + strings.Repeat("{pattern: x},", 257) + "]": "more than 256",
	} {
		if _, err := Load(write(t, "c.yaml", content), nil); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.60s: %v", content, err)
		}
	}
	for _, content := range []string{"session:\n  systems:", "session:\n  systems: []", "session:\n  message_tokens: 0", "http:\n  filter: strict"} {
		if _, err := Load(write(t, "c.yaml", content), nil); err != nil {
			t.Errorf("%.60s: %v", content, err)
		}
	}
	if _, err := LoadModels(write(t, "m.yaml", "session:\n  systems: []")); err == nil {
		t.Error("a model file has system prompts")
	}
}
