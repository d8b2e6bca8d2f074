package upstream

import (
	"encoding/json"
	"strings"
	"testing"

	"moltbot/contracts"
	"moltbot/workers/model"
)

// The provider's count of an answer is taken where it can be that of the text.
func TestTokensOfTheAnswer(t *testing.T) {
	text := strings.Repeat("four", 25) // 100 bytes
	call := []contracts.ToolCall{{ID: "c", Name: "f"}}
	for name, c := range map[string]struct {
		reply Reply
		want  int
	}{
		"as said":                    {Reply{Usage: Usage{Completion: 25}}, 25},
		"without the reasoning":      {Reply{Usage: Usage{Completion: 80, Hidden: 50}, Thought: true}, 30},
		"reasoning of unknown size":  {Reply{Usage: Usage{Completion: 80}, Thought: true}, 0},
		"more than bytes":            {Reply{Usage: Usage{Completion: 101}}, 0},
		"hardly any":                 {Reply{Usage: Usage{Completion: 5}}, 0},
		"nothing said":               {Reply{Usage: NoUsage()}, 0},
		"reasoning beyond the whole": {Reply{Usage: Usage{Completion: 25, Hidden: 90}, Thought: true}, 0},
		"calls among them":           {Reply{Usage: Usage{Completion: 25}, Calls: call}, 0},
	} {
		c.reply.Text = text
		if got := c.reply.tokens(); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestCountsAreNotBelievedBlindly(t *testing.T) {
	for raw, want := range map[string]int{
		"": -1, "null": -1, "7": 7, "0": 0, "-1": -1, "1e300": -1, `"7"`: -1, "[7]": -1, "10000001": -1, "10000000": 10_000_000, "2.9": 2,
	} {
		if got := Count(json.RawMessage(raw)); got != want {
			t.Errorf("%q: %d, want %d", raw, got, want)
		}
	}
}

func TestAnOwnEstimateWhereNothingIsSaid(t *testing.T) {
	r := Reply{Text: "answer", Usage: NoUsage(), Calls: []contracts.ToolCall{{Name: "abc", Arguments: "123456"}}}
	a := r.answer("m", "p", &model.Request{Messages: []model.Message{{Text: "123"}, {Parts: []contracts.PromptPart{{Text: "123"}, {Image: "https://h"}}}}})
	if want := (contracts.Usage{PromptTokens: 1 + 1 + imageTokens, CompletionTokens: 2 + 1 + 2}); a.Usage != want {
		t.Errorf("usage = %+v, want %+v", a.Usage, want)
	}
}
