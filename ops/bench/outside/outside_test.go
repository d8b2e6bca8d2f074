package outside

import (
	"context"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"moltbot/ops/embedded"
)

// The library's pool of workers sleeps up to ten seconds before it sees its end.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

func complain(t *testing.T, url, body string, status int, want string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil || res.StatusCode != status || !strings.Contains(string(text), want) {
		t.Errorf("%s: %d %s, %v", body, res.StatusCode, text, err)
	}
}

func TestModelTakesItsTimeAndQuotes(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready, done := make(chan string, 1), make(chan error, 1)
	const takes = 50 * time.Millisecond
	go func() { done <- RunModel(ctx, ModelOptions{Takes: takes, Ready: func(url string) { ready <- url }}) }()
	url := <-ready
	began := time.Now()
	complain(t, url+"/chat/completions", `{"model":"m","messages":[{"role":"system","content":"x"},{"role":"user","content":"hello"}]}`, 200, `You wrote: \"hello\".`)
	if took := time.Since(began); took < takes {
		t.Errorf("it took %s", took)
	}
	complain(t, url+"/chat/completions", `{"messages":[]}`, 400, "")
	complain(t, url+"/chat/completions", `{"stream":true,"messages":[{"content":"hello"}]}`, 400, "")
	complain(t, url+"/elsewhere", `{}`, 404, "")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A streamed answer says when it began, takes its time and can be checked.
func TestModelStreams(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready, done := make(chan string, 1), make(chan error, 1)
	const takes = 40 * time.Millisecond
	go func() {
		done <- RunModel(ctx, ModelOptions{Takes: takes, Tokens: 4, Ready: func(url string) { ready <- url }})
	}()
	url := <-ready
	began := time.Now()
	complain(t, url+"/chat/completions", `{"stream":true,"messages":[{"content":"hello"}]}`, 200, `{"content":"word3 "},"finish_reason":null}]}

data: {"id":"bench","object":"chat.completion.chunk","model":"slow","choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop"}]}

data: [DONE]
`)
	if took := time.Since(began); took < takes/2 {
		t.Errorf("it took %s", took)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if at, rest, ok := SentAt("t1700000000000000001 word1 word2 "); !ok || rest != Streamed(3) || at.UnixNano() != 1700000000000000001 {
		t.Errorf("%v %q %v", at, rest, ok)
	}
	for _, s := range []string{"", "t", "17 x", "tx y", "t17"} {
		if _, _, ok := SentAt(s); ok {
			t.Errorf("%q has a stamp", s)
		}
	}
}

func TestBackend(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		if _, err := exec.LookPath("valkey-server"); err != nil {
			t.Skip("neither valkey-server nor redis-server on PATH")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	addresses, done := make(chan [2]string, 1), make(chan error, 1)
	go func() {
		done <- RunBackend(ctx, BackendOptions{
			Dir: t.TempDir(), Durability: embedded.DurabilityFsync, Ready: func(n, r string) { addresses <- [2]string{n, r} },
		})
	}()
	var at [2]string
	select {
	case at = <-addresses:
	case err := <-done:
		t.Fatal(err)
	}
	nc, err := nats.Connect(at[0])
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AccountInfo(ctx); err != nil {
		t.Errorf("JetStream: %v", err)
	}
	o, err := redis.ParseURL(at[1])
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(o)
	if got, err := rdb.ConfigGet(ctx, "maxclients").Result(); err != nil || got["maxclients"] != redisClients {
		t.Errorf("maxclients: %v, %v", got, err)
	}
	if err := rdb.Close(); err != nil {
		t.Error(err)
	}
	nc.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
