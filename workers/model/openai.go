package model

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/ssestream"
)

var (
	errFiltered = errors.New("the provider filtered the answer")
	errNoRoom   = errors.New("the token limit was reached before any text")
	errEmpty    = errors.New("the answer has no text")
	errProvider = errors.New("the provider broke off")
)

// OpenAI asks a provider that speaks OpenAI's chat completions. It is safe for
// concurrent use.
type OpenAI struct {
	opts    Options
	service openai.Client
	client  once
	secret  redactor
	// newLimit: OpenAI itself wants max_completion_tokens, the others know only
	// max_tokens.
	newLimit bool
}

// NewOpenAI checks the options. It opens no connection.
func NewOpenAI(o Options) (*OpenAI, error) {
	o, at, err := o.resolve()
	if err != nil {
		return nil, fmt.Errorf("model options: %w", err)
	}
	c := &OpenAI{opts: o, secret: newRedactor(o.APIKey), client: once{o.Transport}}
	c.newLimit = strings.HasPrefix(at.base, openAIBase)
	settings := []option.RequestOption{
		option.WithBaseURL(at.base), option.WithHTTPClient(c.client),
		option.WithMaxRetries(0), option.WithMiddleware(c.refuse),
	}
	if o.APIKey != "" {
		settings = append(settings, option.WithAPIKey(o.APIKey))
	}
	for name, values := range at.query {
		for _, value := range values {
			settings = append(settings, option.WithQueryAdd(name, value))
		}
	}
	// Made this way and not by openai.NewClient it reads nothing from the environment.
	c.service = openai.Client{Options: settings}
	return c, nil
}

// Close gives up idle connections. A call that runs is not disturbed.
func (c *OpenAI) Close() error {
	c.client.CloseIdleConnections()
	return nil
}

// Complete asks the provider once.
func (c *OpenAI) Complete(ctx context.Context, r Request) (Answer, error) {
	name := cmp.Or(r.Model, c.opts.Model)
	version := c.opts.Provider + "/" + name
	call, w := newWatch(ctx, &c.opts)
	defer w.end()
	out, err := c.ask(call, w, name, r)
	if err == nil {
		out.finish, err = finished(out)
	}
	if err != nil {
		return Answer{}, c.failed(ctx, call, version, err)
	}
	if out.usage.PromptTokens < 0 {
		out.usage.PromptTokens = estimatePrompt(r.Messages)
	}
	tokens := out.tokens()
	if out.usage.CompletionTokens < 0 {
		out.usage.CompletionTokens = estimate(out.text)
	}
	return Answer{
		Text: out.text, Tokens: tokens, Model: name, Version: version, Finish: out.finish, Usage: out.usage.Usage,
	}, nil
}

// ask keeps the call chain that waits for the provider shallow: a few hundred
// bytes more in it double the stack of every slot (performance.md, Memory).
func (c *OpenAI) ask(ctx context.Context, w *watch, name string, r Request) (reply, error) {
	body, err := c.encode(name, r)
	if err != nil {
		return reply{}, fmt.Errorf("encode request: %w", err)
	}
	res, err := c.send(ctx, body)
	if err != nil {
		return reply{}, err
	}
	return c.receive(w, res, r.OnDelta)
}

func (c *OpenAI) send(ctx context.Context, body []byte) (*http.Response, error) {
	var res *http.Response
	err := c.service.Post(ctx, "chat/completions", body, nil, option.WithResponseBodyInto(&res))
	return res, err
}

func (c *OpenAI) receive(w *watch, res *http.Response, onDelta func(string)) (reply, error) {
	guarded := w.guard(res.Body)
	res.Body = guarded
	defer res.Body.Close()
	// Many compatible servers answer in one piece although asked to stream.
	if mediaType, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); mediaType == "text/event-stream" {
		s := &stream{dec: ssestream.NewDecoder(res), onToken: w.begin, onDelta: onDelta, onEnd: guarded.hurry}
		return s.decode()
	}
	guarded.onBytes = w.begin
	out, err := decodePlain(res.Body)
	if err == nil && onDelta != nil && out.text != "" {
		onDelta(out.text)
	}
	return out, err
}

// refuse takes over what is not 2xx before the SDK does: the SDK would read
// such a body without a bound and lose the status if it is not JSON.
func (c *OpenAI) refuse(req *http.Request, next option.MiddlewareNext) (*http.Response, error) {
	res, err := next(req)
	if err != nil || res.StatusCode/100 == 2 {
		return res, err
	}
	return nil, readRefusal(res, c.opts.Now())
}

// finished maps the providers' finish reasons to ours, or to an error.
func finished(r reply) (string, error) {
	empty := strings.TrimSpace(r.text) == ""
	switch r.finish {
	case "content_filter", "sensitive": // the latter is Zhipu's
		return "", errFiltered
	case "error", "network_error", "insufficient_system_resource": // OpenRouter, Zhipu, DeepSeek
		return "", fmt.Errorf("%w: %s", errProvider, r.finish)
	case finishLength:
		if empty {
			return "", errNoRoom
		}
		return finishLength, nil
	}
	if empty {
		return "", errEmpty
	}
	return finishStop, nil
}

var _ Completer = (*OpenAI)(nil)
