package ingress

import (
	"errors"
	"net/http"

	"moltbot/contracts"
)

// openAIProblem is an error as OpenAI's clients know it.
type openAIProblem struct {
	Error openAIFault `json:"error"`
}

type openAIFault struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

// openAIError gives err, whose public form is e, that API's shape. Where that
// API has no word of its own the code is ours.
func openAIError(err error, e *contracts.Error) openAIProblem {
	f := openAIFault{Message: e.Message, Type: openAIType(e.Code)}
	var m *misfit
	switch {
	case errors.As(err, &m) && m.param != "":
		f.Param = &m.param
	case e.Code == contracts.CodeModelUnknown:
		f.Param = new("model")
	}
	if code := openAICode(e.Code); code != "" {
		f.Code = &code
	}
	return openAIProblem{f}
}

func openAIType(code contracts.Code) string {
	switch {
	case code == contracts.CodeBudget:
		return "insufficient_quota"
	case code.Status() == http.StatusTooManyRequests:
		return "requests"
	case code.Status() >= http.StatusInternalServerError:
		return "server_error"
	}
	return "invalid_request_error"
}

func openAICode(code contracts.Code) string {
	switch code {
	case contracts.CodeBadRequest:
		return "" // the parameter says it
	case contracts.CodeUnauthorized:
		return "invalid_api_key"
	case contracts.CodeForbidden:
		return "insufficient_permissions"
	case contracts.CodeNotFound:
		return "unknown_url"
	case contracts.CodeRateLimited, contracts.CodeConversationFull:
		return "rate_limit_exceeded"
	case contracts.CodeBudget:
		return "insufficient_quota"
	}
	return string(code)
}
