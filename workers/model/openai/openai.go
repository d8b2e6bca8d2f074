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
	// Made this way and not by its constructor it reads nothing from the environment.
	w.service = sdk.Client{Options: []option.RequestOption{
		option.WithBaseURL(l.Base), option.WithHTTPClient(l.Doer), option.WithMaxRetries(0),
	}}
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
