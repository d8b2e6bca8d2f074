package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"moltbot/contracts"
	"moltbot/workers/model/modeltest"
)

// A worker is killed after a client was shown a part of the answer: what the next
// one writes cannot take its place, so the stream ends with an error.
func TestOpenAIStreamLosesItsWorker(t *testing.T) {
	t.Parallel() // it waits more than it works
	model := modeltest.New(modeltest.Options{Behave: func(modeltest.Request) modeltest.Behavior {
		return modeltest.Behavior{Kind: modeltest.Stall}
	}})
	defer model.Close()
	y := build(t, shape{workers: 1, model: model})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := openai.NewClient(option.WithBaseURL(y.base+"/v1"), option.WithAPIKey(y.token), option.WithMaxRetries(0))
	stream := c.Chat.Completions.NewStreaming(ctx, openai.ChatCompletionNewParams{
		Model: "any", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Viele Grüße")},
	})
	text := ""
	for text == "" && stream.Next() {
		text += stream.Current().Choices[0].Delta.Content
	}
	if text == "" {
		t.Fatal(stream.Err())
	}
	model.Behave(func(modeltest.Request) modeltest.Behavior { return modeltest.Behavior{} })
	y.workers[0].crash()
	for stream.Next() {
		t.Errorf("more was shown: %s", stream.Current().RawJSON())
	}
	if err := stream.Err(); err == nil || !strings.Contains(err.Error(), "broke off") {
		t.Errorf("the stream ended with %v", err)
	}
}

// What a lost worker leaves of a message that nobody can read any more costs one
// more call of the model at most, and that one is cut: the client that read on
// got an error, the other one has left.
func TestOpenAIStreamIsGivenUp(t *testing.T) {
	t.Parallel() // it waits more than it works
	up := newScripted(t)
	up.URL = up.url
	y := build(t, shape{workers: 1, model: up.Server})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := openai.NewClient(option.WithBaseURL(y.base+"/v1"), option.WithAPIKey(y.token), option.WithMaxRetries(0))
	leave, left := context.WithCancel(ctx)
	begin := func(ctx context.Context, text string) (next func() bool, failed func() error, id string) {
		s := c.Chat.Completions.NewStreaming(ctx, openai.ChatCompletionNewParams{
			Model: "any", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(text)},
		})
		t.Cleanup(func() { _ = s.Close() })
		for s.Next() {
			if chunk := s.Current(); chunk.Choices[0].Delta.Content != "" {
				return s.Next, s.Err, strings.TrimPrefix(chunk.ID, "chatcmpl-")
			}
		}
		t.Fatalf("%s: %v", text, s.Err())
		return nil, nil, ""
	}
	next, failed, stays := begin(ctx, "endless, read on")
	_, _, goes := begin(leave, "endless, left")
	y.workers[0].crash()
	left()
	for next() { // what was under way
	}
	if err := failed(); err == nil || !strings.Contains(err.Error(), "broke off") {
		t.Errorf("the stream ended with %v", err)
	}
	for text, id := range map[string]string{"endless, read on": stays, "endless, left": goes} {
		eventually(t, 30*time.Second, text+" is stopped", func() bool { return y.code(id) == string(contracts.CodeStopped) })
		n := up.asked(text)
		eventually(t, 10*time.Second, text+" is cut at the model", func() bool { return up.cuts(text) == n })
		if n > 2 {
			t.Errorf("%s: the model was asked %d times", text, n)
		}
	}
	if n := up.asked("endless, read on"); n != 2 {
		t.Errorf("the model was asked %d times for the one who read on", n)
	}
}

// code is that of the problem a message ended with.
func (y *system) code(id string) string {
	y.t.Helper()
	req, err := http.NewRequestWithContext(y.t.Context(), http.MethodGet, y.base+"/api/chat/"+id, nil)
	if err != nil {
		y.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+y.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		y.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var p contracts.Problem
	_ = json.NewDecoder(res.Body).Decode(&p) // an answer is none
	return string(p.Code)
}
