package modeltest

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// Summary answers a request that asks for a summary as a model that keeps what
// fact finds, each once, and nothing else. ok is false for any other request.
func Summary(r Request, fact *regexp.Regexp) (text string, ok bool) {
	var data struct {
		Memory *string `json:"memory"`
		Rounds []struct {
			User      string `json:"user"`
			Assistant string `json:"assistant"`
		} `json:"rounds"`
	}
	if err := json.Unmarshal([]byte(r.LastUser()), &data); err != nil || data.Memory == nil {
		return "", false
	}
	facts := fact.FindAllString(*data.Memory, -1)
	for _, said := range data.Rounds {
		facts = append(facts, fact.FindAllString(said.User+"\n"+said.Assistant, -1)...)
	}
	slices.Sort(facts)
	if facts = slices.Compact(facts); len(facts) == 0 {
		return "Small talk.", true
	}
	return "The user said: " + strings.Join(facts, ", ") + ".", true
}
