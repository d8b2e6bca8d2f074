package ingress

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"moltbot/contracts"
	"moltbot/ingress/filter"
)

// completionMessage is one message of the client's own context.
type completionMessage struct {
	Role         string           `json:"role"`
	Content      jsontext.Value   `json:"content"` // null, a text, or parts
	Refusal      string           `json:"refusal"`
	Name         string           `json:"name"`
	ToolCalls    []completionCall `json:"tool_calls"`
	ToolCallID   string           `json:"tool_call_id"`
	FunctionCall jsontext.Value   `json:"function_call"`
}

// completionCall is a call of a tool, in requests and in answers.
type completionCall struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

type completionPart struct {
	Type     string `json:"type"`
	Text     string `json:"text"`
	Refusal  string `json:"refusal"`
	ImageURL struct {
		URL    string `json:"url"`
		Detail string `json:"detail"`
	} `json:"image_url"`
}

const (
	maxName    = 64
	maxCallID  = 256
	maxURL     = 4096
	onlyImages = "[image]" // stands in a session for a message without a text
)

// dataImage is the beginning of an image that is in the request itself.
var dataImage = regexp.MustCompile(`^data:image/(?:png|jpeg|jpg|gif|webp);base64,`)

// isBase64 reports whether s is of nothing but base64's letters, with what may
// stand behind them. A provider would refuse anything else later, as our mistake.
func isBase64(s string) bool {
	letters := strings.TrimRight(s, "=")
	if letters == "" || len(s)-len(letters) > 2 {
		return false
	}
	for i := range len(letters) {
		switch c := letters[i]; {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '+', c == '/':
		default:
			return false
		}
	}
	return true
}

// thread reads messages in order and knows which calls of tools are not answered yet.
type thread struct {
	messages []contracts.PromptMessage
	filter   filter.Mode
	lastUser string
	asking   int // messages that an answer can be given to
	pending  map[string]bool
}

// prompt gives the messages as the workers take them, and the text of the last
// one that the user wrote.
func (r *completionRequest) prompt(mode filter.Mode) ([]contracts.PromptMessage, string, error) {
	if n := len(r.Messages); n == 0 || n > maxMessages {
		return nil, "", misfitting("messages", "messages must be 1 to %d", maxMessages)
	}
	t := thread{filter: mode, messages: make([]contracts.PromptMessage, 0, len(r.Messages))}
	for i := range r.Messages {
		if err := t.add(&r.Messages[i], fmt.Sprintf("messages[%d]", i)); err != nil {
			return nil, "", err
		}
	}
	if len(t.pending) > 0 {
		return nil, "", misfitting("messages", "an assistant message with tool_calls must be followed by a tool message for each tool_call_id")
	}
	if t.asking == 0 {
		return nil, "", misfitting("messages", "there must be a message of the role user, system or developer")
	}
	return t.messages, t.lastUser, nil
}

func (t *thread) add(m *completionMessage, at string) error {
	out := contracts.PromptMessage{Role: contracts.Role(m.Role), Name: m.Name}
	if len(m.Name) > maxName {
		return misfitting(at+".name", "a name has at most %d bytes", maxName)
	}
	if given(m.FunctionCall) {
		return misfitting(at+".function_call", "function_call is not supported, use tool_calls")
	}
	parts, err := contents(m.Content, at+".content")
	if err != nil {
		return err
	}
	parts = t.cleanParts(parts, m.Role)
	if len(t.pending) > 0 && out.Role != contracts.RoleTool {
		return misfitting(at+".role", "an assistant message with tool_calls must be followed by a tool message for each tool_call_id")
	}
	switch m.Role {
	case "user":
		err = t.user(&out, parts, at)
	case "system", "developer":
		out.Role = contracts.RoleSystem
		t.asking++
		err = plain(&out, parts, at)
	case "assistant":
		err = t.assistant(&out, m, parts, at)
	case "tool":
		err = t.tool(&out, m, parts, at)
	case "function":
		err = misfitting(at+".role", "the role function is not supported, use tool")
	default:
		err = misfitting(at+".role", "the role must be system, developer, user, assistant or tool")
	}
	t.messages = append(t.messages, out)
	return err
}

func (t *thread) user(out *contracts.PromptMessage, parts []contracts.PromptPart, at string) error {
	text := joined(parts)
	for _, p := range parts {
		if p.Image != "" {
			out.Parts = parts
		}
	}
	t.asking++
	t.lastUser = text
	if out.Parts == nil {
		out.Text = text
		if strings.TrimSpace(text) == "" {
			return misfitting(at+".content", "a message of the user must not be empty")
		}
	} else if strings.TrimSpace(text) == "" {
		t.lastUser = onlyImages
	}
	return nil
}

// plain is a message that can only be a text.
func plain(out *contracts.PromptMessage, parts []contracts.PromptPart, at string) error {
	for _, p := range parts {
		if p.Image != "" {
			return misfitting(at+".content", "only a message of the user can hold images")
		}
	}
	out.Text = joined(parts)
	return nil
}

func (t *thread) assistant(out *contracts.PromptMessage, m *completionMessage, parts []contracts.PromptPart, at string) error {
	if err := plain(out, parts, at); err != nil {
		return err
	}
	if out.Text == "" {
		out.Text = filter.Others(m.Refusal)
	}
	if len(m.ToolCalls) > maxTools {
		return misfitting(at+".tool_calls", "at most %d calls are taken", maxTools)
	}
	for i, c := range m.ToolCalls {
		where := fmt.Sprintf("%s.tool_calls[%d]", at, i)
		switch {
		case c.Type != "function":
			return misfitting(where+".type", `a call must have the type "function"`)
		case c.ID == "" || len(c.ID) > maxCallID || t.pending[c.ID]:
			return misfitting(where+".id", "a call must have an id of its own, of 1 to %d bytes", maxCallID)
		case c.Function.Name == "" || len(c.Function.Name) > maxName:
			return misfitting(where+".function.name", "a function has a name of 1 to %d bytes", maxName)
		}
		if t.pending == nil {
			t.pending = make(map[string]bool)
		}
		t.pending[c.ID] = true
		out.ToolCalls = append(out.ToolCalls, contracts.ToolCall{ID: c.ID, Name: c.Function.Name, Arguments: c.Function.Arguments})
	}
	return nil
}

func (t *thread) tool(out *contracts.PromptMessage, m *completionMessage, parts []contracts.PromptPart, at string) error {
	if !t.pending[m.ToolCallID] {
		return misfitting(at+".tool_call_id", "a tool message must answer one of the tool_calls of the assistant message before it")
	}
	delete(t.pending, m.ToolCallID)
	out.ToolCallID = m.ToolCallID
	return plain(out, parts, at)
}

// contents gives the parts of a message: a text is one part, null is none.
func contents(v jsontext.Value, at string) ([]contracts.PromptPart, error) {
	if !given(v) {
		return nil, nil
	}
	switch v.Kind() {
	case jsontext.KindString:
		var text string
		if err := json.Unmarshal(v, &text); err != nil {
			return nil, misfitting(at, "the text cannot be read")
		}
		return []contracts.PromptPart{{Text: text}}, nil
	case jsontext.KindBeginArray:
		var raw []completionPart
		if err := json.Unmarshal(v, &raw); err != nil {
			return nil, misfitting(at, "the parts must be objects with a type, and text or image_url")
		}
		parts := make([]contracts.PromptPart, 0, len(raw))
		for i := range raw {
			p, err := part(&raw[i], fmt.Sprintf("%s[%d]", at, i))
			if err != nil {
				return nil, err
			}
			parts = append(parts, p)
		}
		return parts, nil
	}
	return nil, misfitting(at, "content must be a string or a list of parts")
}

func part(p *completionPart, at string) (contracts.PromptPart, error) {
	switch p.Type {
	case "text":
		return contracts.PromptPart{Text: p.Text}, nil
	case "refusal":
		return contracts.PromptPart{Text: p.Refusal}, nil
	case "image_url":
		if !isImage(p.ImageURL.URL) {
			return contracts.PromptPart{}, misfitting(at+".image_url.url", "an image must be an https URL, or a data URL with a PNG, JPEG, GIF or WebP image in base64")
		}
		switch p.ImageURL.Detail {
		case "", "auto", "low", "high":
		default:
			return contracts.PromptPart{}, misfitting(at+".image_url.detail", "detail must be auto, low or high")
		}
		return contracts.PromptPart{Image: properType(p.ImageURL.URL), Detail: p.ImageURL.Detail}, nil
	}
	return contracts.PromptPart{}, misfitting(at+".type", "a part must be text or image_url; audio and files are not supported")
}

// properType gives an image the media type that providers know it by.
func properType(address string) string {
	if data, found := strings.CutPrefix(address, "data:image/jpg;"); found {
		return "data:image/jpeg;" + data
	}
	return address
}

func isImage(address string) bool {
	if strings.HasPrefix(address, "data:") {
		return isBase64(strings.TrimPrefix(address, dataImage.FindString(address)))
	}
	if len(address) > maxURL {
		return false
	}
	u, err := url.Parse(address)
	return err == nil && u.Scheme == "https" && u.Hostname() != "" && u.User == nil
}

// joined is the text of parts, a line for each.
func joined(parts []contracts.PromptPart) string {
	if len(parts) == 1 {
		return parts[0].Text
	}
	var texts []string
	for _, p := range parts {
		if p.Image == "" {
			texts = append(texts, p.Text)
		}
	}
	return strings.Join(texts, "\n")
}
