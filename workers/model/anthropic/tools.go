package anthropic

import (
	"encoding/json"

	"moltbot/contracts"
)

type wireTool struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Schema      json.RawMessage `json:"input_schema"`
}

type wireChoice struct {
	Type string `json:"type"`
	Name string `json:"name,omitempty"`
	// Alone: at most one call in an answer.
	Alone bool `json:"disable_parallel_tool_use,omitempty"`
}

const typeFunction = "function"

// openAITool is a tool, or the choice of one, as clients write it.
type openAITool struct {
	Type     string `json:"type"`
	Function struct {
		Name        string          `json:"name"`
		Description string          `json:"description"`
		Parameters  json.RawMessage `json:"parameters"`
	} `json:"function"`
}

// tools translates from OpenAI's form.
func tools(p *contracts.Params) ([]wireTool, *wireChoice, error) {
	if len(p.Tools) == 0 || string(p.Tools) == "null" {
		return nil, nil, nil
	}
	var given []openAITool
	if json.Unmarshal(p.Tools, &given) != nil {
		return nil, nil, unfit("tools is no list of tools")
	}
	all := make([]wireTool, 0, len(given))
	for _, t := range given {
		if t.Type != typeFunction || t.Function.Name == "" {
			return nil, nil, unfit("a tool is no function with a name")
		}
		w := wireTool{t.Function.Name, t.Function.Description, t.Function.Parameters}
		if len(w.Schema) == 0 || string(w.Schema) == "null" {
			w.Schema = json.RawMessage(`{"type":"object","properties":{}}`)
		}
		all = append(all, w)
	}
	if len(all) == 0 {
		return nil, nil, nil
	}
	choice, err := choiceOf(p)
	return all, choice, err
}

func choiceOf(p *contracts.Params) (*wireChoice, error) {
	var c wireChoice
	switch string(p.ToolChoice) {
	case "", "null":
	case `"auto"`:
		c.Type = "auto"
	case `"none"`:
		return &wireChoice{Type: "none"}, nil
	case `"required"`:
		c.Type = "any"
	default:
		var named openAITool
		if json.Unmarshal(p.ToolChoice, &named) != nil || named.Type != typeFunction || named.Function.Name == "" {
			return nil, unfit("tool_choice is not known")
		}
		c.Type, c.Name = "tool", named.Function.Name
	}
	if c.Alone = p.ParallelTools != nil && !*p.ParallelTools; c.Alone && c.Type == "" {
		c.Type = "auto"
	}
	if c.Type == "" {
		return nil, nil
	}
	return &c, nil
}
