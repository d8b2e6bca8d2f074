// Package anthropic puts a prompt to a provider that speaks Anthropic's messages
// API, in the terms of OpenAI's, which the clients use. It speaks and listens
// only: what bounds a call and what a failure means is the upstream package's.
package anthropic

import (
	"context"
	"net/http"

	sdk "github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"

	"moltbot/workers/model/upstream"
)

// Name is the provider that needs no endpoint.
const Name = "anthropic"

// Options are the settings of one provider. An endpoint may end in /v1 or not.
type Options = upstream.Options

// New checks the options. It opens no connection.
func New(o Options) (*upstream.Client, error) {
	return upstream.New(o, upstream.Protocol{
		Home: Name, Base: "https://api.anthropic.com", Root: "/v1", Path: "/messages",
		Model: string(sdk.ModelClaudeHaiku5_5), Open: open,
	})
}

type wire struct {
	opts    *Options
	service sdk.Client
}

func open(l upstream.Link) upstream.Wire {
	w := &wire{opts: l.Options}
	// Made this way and not by its constructor it reads nothing from the environment.
	w.service = sdk.Client{Options: []option.RequestOption{
		option.WithBaseURL(l.Base), option.WithHTTPClient(l.Doer), option.WithMaxRetries(0),
		// Left to itself the SDK asks the environment whether to make spans, with content.
		option.WithOpenTelemetryTraces(false),
	}}
	return w
}

// Post sends a body once.
func (w *wire) Post(ctx context.Context, key string, body []byte) (*http.Response, error) {
	var res *http.Response
	as := option.WithResponseBodyInto(&res)
	var err error
	if key == "" {
		err = w.service.Post(ctx, "messages", body, nil, as)
	} else {
		err = w.service.Post(ctx, "messages", body, nil, as, option.WithAPIKey(key))
	}
	return res, err
}

var _ upstream.Wire = (*wire)(nil)
