package anthropic

import (
	"encoding/json"
	"strings"

	"moltbot/contracts"
	"moltbot/workers/model"
)

// The API's roles: results of tools come from the user.
const (
	roleUser      = "user"
	roleAssistant = "assistant"
)

type wireMessage struct {
	Role    string  `json:"role"`
	Content []block `json:"content"`
}

// block is one part of a message, of any type.
type block struct {
	Type   string          `json:"type"`
	Text   string          `json:"text,omitempty"`
	Source *source         `json:"source,omitempty"` // of an image
	ID     string          `json:"id,omitempty"`     // of a tool_use
	Name   string          `json:"name,omitempty"`
	Input  json.RawMessage `json:"input,omitempty"`
	// Of a tool_result.
	ToolUseID string  `json:"tool_use_id,omitempty"`
	Content   []block `json:"content,omitempty"`
}

type source struct {
	Type      string `json:"type"`
	URL       string `json:"url,omitempty"`
	MediaType string `json:"media_type,omitempty"`
	Data      string `json:"data,omitempty"`
}

// talk takes out what the system says, and gives the rest in turns of user and
// assistant, the user first: the API wants it so.
func talk(messages []model.Message) (system string, turns []wireMessage, err error) {
	for i := range messages {
		m := &messages[i]
		if m.Role == model.RoleSystem {
			system = joined(system, m)
			continue
		}
		blocks, err := blocksOf(m)
		if err != nil {
			return "", nil, err
		}
		turns = add(turns, roleOf(m.Role), blocks)
	}
	if len(turns) == 0 {
		return "", nil, unfit("there is no message but the system's")
	}
	// What the assistant said last is what it goes on from, and may not end in a space.
	if last := turns[len(turns)-1]; last.Role == roleAssistant {
		end := &last.Content[len(last.Content)-1]
		end.Text = strings.TrimRight(end.Text, " \t\r\n")
	}
	return system, turns, nil
}

func joined(system string, m *model.Message) string {
	texts := []string{m.Text}
	for _, p := range m.Parts {
		texts = append(texts, p.Text)
	}
	for _, t := range texts {
		switch {
		case strings.TrimSpace(t) == "":
		case system == "":
			system = t
		default:
			system += "\n\n" + t
		}
	}
	return system
}

func roleOf(r contracts.Role) string {
	if r == model.RoleAssistant {
		return roleAssistant
	}
	return roleUser
}

func add(turns []wireMessage, role string, blocks []block) []wireMessage {
	if len(blocks) == 0 {
		return turns
	}
	if len(turns) == 0 && role == roleAssistant {
		turns = append(turns, wireMessage{roleUser, []block{{Type: "text", Text: "…"}}})
	}
	if last := len(turns) - 1; last >= 0 && turns[last].Role == role {
		turns[last].Content = append(turns[last].Content, blocks...)
		return turns
	}
	return append(turns, wireMessage{role, blocks})
}

// blocksOf leaves out texts of nothing but space, which the API refuses.
func blocksOf(m *model.Message) ([]block, error) {
	var all []block
	if strings.TrimSpace(m.Text) != "" {
		all = append(all, block{Type: "text", Text: m.Text})
	}
	for _, p := range m.Parts {
		if strings.TrimSpace(p.Text) != "" {
			all = append(all, block{Type: "text", Text: p.Text})
		}
		if p.Image == "" {
			continue
		}
		s, err := sourceOf(p.Image)
		if err != nil {
			return nil, err
		}
		all = append(all, block{Type: "image", Source: s})
	}
	for _, c := range m.ToolCalls {
		all = append(all, block{Type: "tool_use", ID: c.ID, Name: c.Name, Input: object(c.Arguments)})
	}
	if m.Role == model.RoleTool {
		all = []block{{Type: "tool_result", ToolUseID: m.ToolCallID, Content: all}}
	}
	return all, nil
}

// sourceOf takes an https URL, or a data URL in base64.
func sourceOf(image string) (*source, error) {
	data, isData := strings.CutPrefix(image, "data:")
	if !isData {
		return &source{Type: "url", URL: image}, nil
	}
	mediaType, encoded, ok := strings.Cut(data, ";base64,")
	if !ok || mediaType == "" || encoded == "" {
		return nil, unfit("an image's data URL is not in base64, or has no media type")
	}
	return &source{Type: "base64", MediaType: mediaType, Data: encoded}, nil
}

// object gives the arguments of a call, which the API wants as an object. What
// is none stands in one, so that the model sees what it wrote.
func object(arguments string) json.RawMessage {
	var o map[string]json.RawMessage
	switch {
	case strings.TrimSpace(arguments) == "":
		return json.RawMessage(`{}`)
	case json.Unmarshal([]byte(arguments), &o) == nil && o != nil:
		return json.RawMessage(arguments)
	}
	b, _ := json.Marshal(map[string]string{"arguments": arguments}) // cannot fail: a text
	return b
}
