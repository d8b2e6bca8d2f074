package outside

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// ModelOptions of a provider that speaks OpenAI's chat completions.
type ModelOptions struct {
	// Takes is how long each answer takes.
	Takes time.Duration
	// Tokens is how many an answer has that is streamed. Default: none is.
	Tokens int
	// Ready is called with the base URL. Required.
	Ready func(url string)
}

// RunModel serves until ctx ends. It quotes the last message, as the demo model
// does, so that every answer can be checked.
func RunModel(ctx context.Context, o ModelOptions) error {
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("model: listen: %w", err)
	}
	s := &fasthttp.Server{
		NoDefaultServerHeader: true, NoDefaultDate: true, Concurrency: 1 << 20,
		Handler: func(c *fasthttp.RequestCtx) { complete(ctx, c, &o) },
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	o.Ready("http://" + l.Addr().String() + "/v1")
	select {
	case err := <-served:
		return fmt.Errorf("model: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.ShutdownWithContext(stop); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("model: %w", err)
	}
	return nil // a connection that is still open ends with the process
}

type (
	message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	choice struct {
		Index   int     `json:"index"`
		Message message `json:"message"`
		Finish  string  `json:"finish_reason"`
	}
	usage struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
		Total      int `json:"total_tokens"`
	}
	completion struct {
		ID      string   `json:"id"`
		Object  string   `json:"object"`
		Model   string   `json:"model"`
		Choices []choice `json:"choices"`
		Usage   usage    `json:"usage"`
	}
)

func complete(ctx context.Context, c *fasthttp.RequestCtx, o *ModelOptions) {
	if !strings.HasSuffix(string(c.Path()), "/chat/completions") {
		c.SetStatusCode(fasthttp.StatusNotFound)
		return
	}
	var ask struct {
		Model    string    `json:"model"`
		Stream   bool      `json:"stream"`
		Messages []message `json:"messages"`
	}
	if json.Unmarshal(c.PostBody(), &ask) != nil || len(ask.Messages) == 0 || ask.Stream && o.Tokens == 0 {
		c.SetStatusCode(fasthttp.StatusBadRequest)
		return
	}
	if ask.Stream {
		stream(ctx, c, o)
		return
	}
	timer := time.NewTimer(o.Takes)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		c.SetStatusCode(fasthttp.StatusServiceUnavailable)
		return
	}
	last := ask.Messages[len(ask.Messages)-1].Content
	body, err := json.Marshal(completion{
		ID: "bench", Object: "chat.completion", Model: ask.Model,
		Choices: []choice{{Message: message{"assistant", fmt.Sprintf("You wrote: %q.", last)}, Finish: "stop"}},
		Usage:   usage{len(last) / 4, len(last) / 4, len(last) / 2},
	})
	if err != nil {
		c.SetStatusCode(fasthttp.StatusInternalServerError)
		return
	}
	c.SetContentType("application/json")
	c.SetBody(body)
}
