package ingress

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"moltbot/contracts"
)

// completion is what is needed to answer one request once its message is stored.
type completion struct {
	id     contracts.ID
	model  string // as the client called it
	keyed  bool   // it can be repeated
	stream bool
	usage  bool // a stream ends with what it cost
	// crowded says that others came in between, and nobody more may wait.
	crowded bool
}

type completionReply struct {
	ID          string             `json:"id"`
	Object      string             `json:"object"`
	Created     int64              `json:"created"`
	Model       string             `json:"model"`
	Choices     []completionChoice `json:"choices"`
	Usage       completionUsage    `json:"usage"`
	Fingerprint string             `json:"system_fingerprint,omitempty"`
}

type completionChoice struct {
	Index    int              `json:"index"`
	Message  completionAnswer `json:"message"`
	Logprobs *struct{}        `json:"logprobs"` // never there
	Finish   string           `json:"finish_reason"`
}

type completionAnswer struct {
	Role      contracts.Role   `json:"role"`
	Content   *string          `json:"content"`
	Refusal   *string          `json:"refusal"` // never there: a refusal is a text
	ToolCalls []completionCall `json:"tool_calls,omitempty"`
}

type completionUsage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`
}

// retryHeader is how OpenAI's servers tell its clients whether to try again.
const retryHeader = "X-Should-Retry"

// complete writes a final result.
func (in *Ingress) complete(c echo.Context, x *completion, r *contracts.Result) error {
	if r.Code != "" {
		return ended(c, r)
	}
	answer := completionAnswer{Role: contracts.RoleAssistant, Content: &r.Reply, ToolCalls: callsOf(r)}
	if r.Reply == "" && len(answer.ToolCalls) > 0 {
		answer.Content = nil
	}
	return c.JSON(http.StatusOK, completionReply{
		ID: x.name(), Object: "chat.completion", Created: x.created(), Model: x.model, Usage: usageOf(r), Fingerprint: r.ModelVersion,
		Choices: []completionChoice{{Message: answer, Finish: finishOf(r)}},
	})
}

// ended is the error that a message ended with. The workers have tried again as
// often as makes sense; a client would by itself, too.
func ended(c echo.Context, r *contracts.Result) error {
	c.Response().Header().Set(retryHeader, "false")
	return fail(r.Code, r.Detail)
}

func (x *completion) name() string { return "chatcmpl-" + x.id.String() }

func (x *completion) created() int64 { return x.id.At.Unix() }

func callsOf(r *contracts.Result) []completionCall {
	calls := make([]completionCall, len(r.ToolCalls))
	for i, c := range r.ToolCalls {
		calls[i].ID, calls[i].Type = c.ID, "function"
		calls[i].Function.Name, calls[i].Function.Arguments = c.Name, c.Arguments
	}
	return calls
}

func usageOf(r *contracts.Result) completionUsage {
	u := r.Usage
	return completionUsage{Prompt: u.PromptTokens, Completion: u.CompletionTokens, Total: u.PromptTokens + u.CompletionTokens}
}

// finishOf gives one of the four reasons that clients know.
func finishOf(r *contracts.Result) string {
	switch {
	case r.Finish == "length" || r.Finish == "content_filter":
		return r.Finish
	case len(r.ToolCalls) > 0:
		return "tool_calls"
	}
	return "stop"
}
