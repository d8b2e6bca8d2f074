// Package openai puts a prompt to a provider that speaks OpenAI's chat
// completions, whoever runs it. It speaks and listens only: what bounds a call
// and what a failure means is the upstream package's.
package openai

import (
	"context"
	"net/http"

	sdk "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"moltbot/workers/model/upstream"
)

// Name is the provider that needs no endpoint.
const Name = "openai"

// Options are the settings of one provider.
type Options = upstream.Options

// New checks the options. It opens no connection.
func New(o Options) (*upstream.Client, error) {
	return upstream.New(o, upstream.Protocol{
		Home: Name, Base: "https://api.openai.com/v1", Path: "/chat/completions", Model: "gpt-4o-mini", Open: open,
	})
}

type wire struct {
	opts    *Options
	service sdk.Client
	// newLimit: OpenAI itself wants max_completion_tokens, the others know only
	// max_tokens.
	newLimit bool
}

func open(l upstream.Link) upstream.Wire {
	w := &wire{opts: l.Options, newLimit: l.Home}
	settings := []option.RequestOption{
		option.WithBaseURL(l.Base), option.WithHTTPClient(l.Doer),
		option.WithMaxRetries(0), option.WithMiddleware(w.refuse),
	}
	for name, values := range l.Query {
		for _, value := range values {
			settings = append(settings, option.WithQueryAdd(name, value))
		}
	}
	// Made this way and not by its constructor it reads nothing from the environment.
	w.service = sdk.Client{Options: settings}
	return w
}

// Post sends a body once.
func (w *wire) Post(ctx context.Context, key string, body []byte) (*http.Response, error) {
	var res *http.Response
	as := option.WithResponseBodyInto(&res)
	var err error
	if key == "" {
		err = w.service.Post(ctx, "chat/completions", body, nil, as)
	} else {
		err = w.service.Post(ctx, "chat/completions", body, nil, as, option.WithAPIKey(key))
	}
	return res, err
}

// refuse takes over what is not 2xx before the SDK does: the SDK would read
// such a body without a bound and lose the status if it is not JSON.
func (w *wire) refuse(req *http.Request, next option.MiddlewareNext) (*http.Response, error) {
	res, err := next(req)
	if err != nil || res.StatusCode/100 == 2 {
		return res, err
	}
	return nil, upstream.ReadRefusal(res, w.opts.Now())
}
