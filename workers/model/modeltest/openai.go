package modeltest

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// openAI writes chat completions.
func openAI() dialect {
	return dialect{
		document: openAIDocument, opening: openAIOpening, delta: openAIDelta, calls: openAICalls, finishing: openAIFinishing, failure: openAIFailure,
		terminator: "data: [DONE]\n\n",
		giant:      `{"choices":[{"message":{"content":"`,
	}
}

func openAIDocument(x *exchange, text string) string {
	content, calls := quote(text), ""
	if len(x.b.Calls) > 0 {
		var all []string
		for i, c := range x.b.Calls {
			all = append(all, openAICall(x.b.At+i, c.ID, c.Name, c.Arguments))
		}
		calls = `,"tool_calls":[` + strings.Join(all, ",") + `]`
		if text == "" {
			content = "null"
		}
	}
	return fmt.Sprintf(`{"id":"chatcmpl-test","object":"chat.completion","created":1700000000,"model":%s,`+
		`"choices":[{"index":0,"message":{"role":"assistant","content":%s,"refusal":null%s},"logprobs":null,"finish_reason":%s}]%s}`,
		quote(x.req.Model), content, calls, quote(x.finish()), openAIUsage(x, text))
}

func openAICall(index int, id, name, arguments string) string {
	head := ""
	if id != "" {
		head = fmt.Sprintf(`"id":%s,"type":"function",`, quote(id))
	}
	called := ""
	if name != "" {
		called = `"name":` + quote(name) + `,`
	}
	return fmt.Sprintf(`{"index":%d,%s"function":{%s"arguments":%s}}`, index, head, called, quote(arguments))
}

// usage is the member of the same name with its comma, or nothing.
func openAIUsage(x *exchange, text string) string {
	switch x.b.Usage {
	case "none":
		return ""
	case "":
		prompt, out := x.req.length(), utf8.RuneCountInString(text)
		return fmt.Sprintf(`,"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}`, prompt, out, prompt+out)
	}
	return `,"usage":` + x.b.Usage
}

func openAIChunk(x *exchange, rest string) string {
	return fmt.Sprintf(`data: {"id":"chatcmpl-test","object":"chat.completion.chunk","created":1700000000,"model":%s,%s}`+"\n\n",
		quote(x.req.Model), rest)
}

func openAIPiece(x *exchange, delta string) string {
	return openAIChunk(x, `"choices":[{"index":0,"delta":{`+delta+`},"finish_reason":null}]`)
}

func openAIOpening(x *exchange) string { return openAIPiece(x, `"role":"assistant","content":""`) }

func openAIDelta(x *exchange, text string) string { return openAIPiece(x, `"content":`+quote(text)) }

// calls takes turns between the calls, as some providers do.
func openAICalls(x *exchange) []string {
	var all []string
	rest := make([]string, len(x.b.Calls))
	for i, c := range x.b.Calls {
		rest[i] = c.Arguments
		all = append(all, openAIPiece(x, `"tool_calls":[`+openAICall(x.b.At+i, c.ID, c.Name, "")+`]`))
	}
	for slices.ContainsFunc(rest, func(s string) bool { return s != "" }) {
		for i := range rest {
			var piece string
			if piece, rest[i] = cut(rest[i]); piece != "" {
				all = append(all, openAIPiece(x, `"tool_calls":[`+openAICall(x.b.At+i, "", "", piece)+`]`))
			}
		}
	}
	return all
}

// cut takes a few bytes off, never within a character.
func cut(s string) (piece, rest string) {
	end := min(len(s), 3)
	for end < len(s) && !utf8.RuneStart(s[end]) {
		end++
	}
	return s[:end], s[end:]
}

func openAIFinishing(x *exchange, text string) string {
	end := openAIChunk(x, `"choices":[{"index":0,"delta":{},"finish_reason":`+quote(x.finish())+`}]`)
	if usage := openAIUsage(x, text); usage != "" && x.req.StreamOptions.IncludeUsage {
		end += openAIChunk(x, `"choices":[]`+usage)
	}
	return end
}

func openAIFailure(kind, message string) string {
	return fmt.Sprintf(`{"error":{"message":%s,"type":%s,"param":null,"code":null}}`, quote(message), quote(kind))
}

// fault says what OpenAI would not accept about the request.
func (r Request) fault() string {
	if r.Model == "" || len(r.Messages) == 0 {
		return "model and messages are required"
	}
	for i, m := range r.Messages {
		if !slices.Contains([]string{"system", "user", "assistant", "tool"}, m.Role) {
			return fmt.Sprintf("messages.%d: role %q", i, m.Role)
		}
	}
	return ""
}
