package chain

import (
	"strings"
	"testing"

	"moltbot/contracts"
	"moltbot/workers/model"
)

// A prompt that is too long loses turns, and its summary only where it has none.
func TestHalveKeepsTheSummary(t *testing.T) {
	for all, want := range map[string]string{
		"s S u1 a1 u2 a2 u3":    "s S u2 a2 u3",
		"S u1 a1 u2 a2 u3 a3 u": "S u3 a3 u",
		"s S u1 a1 u2":          "s S u2",
		"s S u":                 "s u",
		"S u":                   "u",
		"s u1 a1 u2":            "s u2",
		"s S u1 a1 t1 a1 u2 t2": "s S u2 t2",
		"s u":                   "-",
		"s":                     "-",
		"":                      "-",
	} {
		var messages []model.Message
		for _, name := range strings.Fields(all) {
			role := map[byte]contracts.Role{'s': model.RoleSystem, 'S': model.RoleUser, 'u': model.RoleUser, 'a': model.RoleAssistant, 't': model.RoleTool}[name[0]]
			messages = append(messages, model.Message{Role: role, Text: name, Keep: name == "S"})
		}
		got, ok := halve(messages)
		texts := make([]string, len(got))
		for i, m := range got {
			texts[i] = m.Text
		}
		if s := strings.Join(texts, " "); !ok && want != "-" || ok && s != want {
			t.Errorf("%q: %q %v, want %q", all, s, ok, want)
		}
	}
}
