package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"moltbot/workers/model/modeltest"
)

// scripted is a provider that follows a script: the last thing said tells it
// what to do. It knows which calls were cut short by whoever made them.
type scripted struct {
	*modeltest.Server
	url string

	mu  sync.Mutex
	cut map[string]int
}

func newScripted(t *testing.T) *scripted {
	u := &scripted{cut: map[string]int{}}
	u.Server = modeltest.New(modeltest.Options{Key: "test-key", Reply: script, Behave: behave})
	t.Cleanup(u.Close)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/asked" {
			_, _ = fmt.Fprint(w, u.asked(r.URL.Query().Get("text")))
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // it left before it had asked
		}
		var asked modeltest.Request
		_ = json.Unmarshal(body, &asked) // it is refused below
		r.Body = io.NopCloser(bytes.NewReader(body))
		u.ServeHTTP(w, r)
		if r.Context().Err() != nil {
			u.mu.Lock()
			u.cut[asked.LastUser()]++
			u.mu.Unlock()
		}
	}))
	t.Cleanup(front.Close)
	u.url = front.URL + "/v1"
	return u
}

// script is what the provider says.
func script(r modeltest.Request) string {
	last := r.Messages[len(r.Messages)-1]
	switch {
	case last.Role == "tool":
		return "It is said: " + last.Content
	case strings.Contains(last.Content, "weather"):
		return "" // it wants to call a tool
	case last.Content == "history?":
		var said []string
		for _, m := range r.Messages {
			said = append(said, m.Role+": "+m.Content)
		}
		return strings.Join(said, "|")
	}
	return "echo: " + last.Content
}

func behave(r modeltest.Request) modeltest.Behavior {
	last := r.Messages[len(r.Messages)-1]
	switch {
	case strings.HasPrefix(last.Content, "endless"):
		return modeltest.Behavior{Kind: modeltest.Endless, Every: 5 * time.Millisecond}
	case last.Content == "refuse":
		return modeltest.Behavior{Kind: modeltest.Status, Status: http.StatusBadRequest}
	case last.Content == "break off":
		return modeltest.Behavior{Kind: modeltest.Abort}
	case last.Role == "user" && strings.Contains(last.Content, "weather"):
		return modeltest.Behavior{Calls: []modeltest.Call{{ID: "call_1", Name: "weather", Arguments: `{"city":"Köln"}`}}}
	}
	return modeltest.Behavior{}
}

// asked counts the calls whose last user message was text.
func (u *scripted) asked(text string) (n int) {
	for _, r := range u.Requests() {
		if r.LastUser() == text {
			n++
		}
	}
	return n
}

func (u *scripted) cuts(text string) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.cut[text]
}

// alone is the whole product in one process, in front of a scripted provider.
type alone struct {
	t          *testing.T
	base       string
	upstream   *scripted
	bin, data  string
	token, few string
}

func startAlone(t *testing.T) *alone {
	t.Helper()
	bin, _ := programs(t)
	dir := t.TempDir()
	port := freePort(t)
	a := &alone{t: t, base: "http://" + local(port), upstream: newScripted(t), bin: bin, data: filepath.Join(dir, "data")}
	p := newProcess(t, dir, "up", bin, "up", "--data-dir", a.data, "--listen", local(port), "--log-level", "debug", "--log-format", "json", "--rate-limit", "off")
	p.env = []string{
		"MOLTBOT_MODEL_MODEL_PROVIDER=stand-in", "MOLTBOT_MODEL_MODEL=scripted", "MOLTBOT_MODEL_ENDPOINT=" + a.upstream.url,
		"MOLTBOT_MODEL_API_KEY=test-key", "MOLTBOT_METRICS_LISTEN=127.0.0.1:0", "MOLTBOT_SESSION_TOKENS=100000",
	}
	p.start()
	t.Cleanup(func() {
		p.terminate()
		if t.Failed() {
			t.Log(p.tail())
		}
	})
	eventually(t, 30*time.Second, "up is ready", func() bool {
		res, err := http.Get(a.base + "/readyz")
		if err != nil {
			return false
		}
		defer func() { _ = res.Body.Close() }()
		return res.StatusCode == http.StatusOK
	})
	a.token, a.few = a.mint("-u", "tester"), a.mint("-u", "few", "--models", "scripted")
	return a
}

func (a *alone) mint(args ...string) string {
	a.t.Helper()
	out, err := exec.Command(a.bin, append([]string{"token", "--data-dir", a.data}, args...)...).Output()
	if err != nil {
		a.t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// TestOpenAIClientForJavaScript lets the official npm package loose on the whole
// program. openai_client.mjs has what it expects.
func TestOpenAIClientForJavaScript(t *testing.T) {
	t.Parallel() // it waits more than it works
	dir := clientForJS(t, "openai_client.mjs")
	a := startAlone(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	node := exec.CommandContext(ctx, "node", "openai_client.mjs")
	node.Dir = dir
	node.Env = append(os.Environ(), "BASE="+a.base, "TOKEN="+a.token, "FEW="+a.few,
		"POOR="+a.mint("-u", "poor", "--budget", "1"), "CALM="+a.mint("-u", "calm", "--rate", "1/1"), "ASKED="+strings.TrimSuffix(a.upstream.url, "/v1")+"/asked")
	out, err := node.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if steps := strings.Count(string(out), "ok "); steps != 17 {
		t.Errorf("%d steps:\n%s", steps, out)
	}
	for _, text := range []string{"endless stream", "endless plain"} {
		eventually(t, 10*time.Second, "the upstream call is cut: "+text, func() bool { return a.upstream.cuts(text) == 1 })
	}
	for text, want := range map[string]int{"refuse": 2, "break off": 1, "endless stream": 1, "endless plain": 1} {
		if n := a.upstream.asked(text); n != want { // no client and no worker asks again
			t.Errorf("%q was asked %d times, want %d", text, n, want)
		}
	}
}

// TestOpenAIClientForGo does the same, shorter, with the official Go module.
func TestOpenAIClientForGo(t *testing.T) {
	t.Parallel() // it waits more than it works
	a := startAlone(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	compared := &http.Client{Transport: describe(t, http.DefaultTransport)}
	connect := func(token string) openai.Client {
		return openai.NewClient(option.WithBaseURL(a.base+"/v1"), option.WithAPIKey(token), option.WithHTTPClient(compared))
	}
	c := connect(a.token)
	ask := func(text string) openai.ChatCompletionNewParams {
		return openai.ChatCompletionNewParams{Model: "scripted", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(text)}}
	}
	r, err := c.Chat.Completions.New(ctx, ask("hello"))
	if err != nil {
		t.Fatal(err)
	}
	u := r.Usage
	if m := r.Choices[0]; m.Message.Content != "echo: hello" || m.FinishReason != "stop" || r.Model != "scripted" || u.TotalTokens == 0 || u.TotalTokens != u.PromptTokens+u.CompletionTokens {
		t.Errorf("%s", r.RawJSON())
	}

	streamed := ask("hello stream")
	streamed.StreamOptions.IncludeUsage = openai.Bool(true)
	stream, sum := c.Chat.Completions.NewStreaming(ctx, streamed), openai.ChatCompletionAccumulator{}
	for stream.Next() {
		if !sum.AddChunk(stream.Current()) {
			t.Errorf("does not fit: %s", stream.Current().RawJSON())
		}
	}
	if err := stream.Err(); err != nil || sum.Choices[0].Message.Content != "echo: hello stream" || sum.Usage.TotalTokens == 0 {
		t.Errorf("%+v: %v", sum.ChatCompletion, err)
	}

	page, err := c.Models.List(ctx)
	if err != nil || len(page.Data) != 1 || page.Data[0].ID != "scripted" {
		t.Errorf("%+v: %v", page, err)
	}
	few, wrong := connect(a.few), connect("sk-wrong")
	other := ask("x")
	other.Model = "gpt-9"
	hot := ask("x")
	hot.Temperature = openai.Float(3)
	for name, f := range map[string]struct {
		call   func() error
		status int
		code   string
	}{
		"401": {func() error { _, err := wrong.Models.List(ctx); return err }, 401, "invalid_api_key"},
		"404": {func() error { _, err := few.Chat.Completions.New(ctx, other); return err }, 404, "model_not_found"},
		"400": {func() error { _, err := c.Chat.Completions.New(ctx, hot); return err }, 400, ""},
		"502": {func() error { _, err := c.Chat.Completions.New(ctx, ask("refuse")); return err }, 502, "model_failed"},
	} {
		var e *openai.Error
		if err := f.call(); !errors.As(err, &e) || e.StatusCode != f.status || e.Code != f.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := a.upstream.asked("refuse"); n != 1 {
		t.Errorf("asked %d times", n)
	}

	aborted, abort := context.WithCancel(ctx)
	endless := c.Chat.Completions.NewStreaming(aborted, ask("endless stream"))
	for pieces := 0; pieces < 3 && endless.Next(); pieces++ {
	}
	abort()
	_ = endless.Close()
	eventually(t, 10*time.Second, "the upstream call is cut", func() bool { return a.upstream.cuts("endless stream") == 1 })
}
