package openai_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"moltbot/contracts"
	"moltbot/workers/model/modeltest"
	"moltbot/workers/model/openai"
)

// want is the error a test expects; a zero wait is not compared.
type want struct {
	code  contracts.Code
	retry bool
	wait  time.Duration
}

// check also holds what is true of every error: no key in it, no words of the
// provider in what the client reads, an operator's text of bounded size.
func check(t *testing.T, err error, w want) {
	t.Helper()
	e, ok := errors.AsType[*contracts.Error](err)
	if !ok {
		t.Fatalf("err = %v, want a *contracts.Error", err)
	}
	if e.Code != w.code || e.Retryable != w.retry || (w.wait != 0 && e.RetryAfter != w.wait) {
		t.Errorf("got %s, retryable %v after %s; want %+v: %v", e.Code, e.Retryable, e.RetryAfter, w, err)
	}
	if e.Retryable != (e.RetryAfter > 0) || e.RetryAfter > time.Minute {
		t.Errorf("retryable %v, but retry after %s", e.Retryable, e.RetryAfter)
	}
	if strings.Contains(e.Message, "upstream") {
		t.Errorf("the client reads the provider's words: %q", e.Message)
	}
	if len(err.Error()) > 700 {
		t.Errorf("%d bytes of error", len(err.Error()))
	}
	for i := 0; i+8 <= len(canary); i++ {
		if strings.Contains(err.Error()+fmt.Sprintf("%+v", e), canary[i:i+8]) {
			t.Fatalf("the error leaks the key: %v", err)
		}
	}
}

func TestStatus(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	refused := want{contracts.CodeModelFailed, false, 0}
	busy := func(s int) want { return want{contracts.CodeModelFailed, true, time.Duration(s) * time.Second} }
	for _, c := range []struct {
		status int
		after  string
		want   want
	}{
		{429, "", busy(1)}, {429, "30", busy(30)}, {429, "86400", busy(60)}, {429, "-4", busy(1)}, {429, "soon", busy(1)},
		{429, "99999999999999999999999", busy(60)},
		{429, now.Add(20 * time.Second).Format(http.TimeFormat), busy(20)},
		{429, now.Add(-time.Hour).Format(http.TimeFormat), busy(1)},
		{503, now.Add(24 * time.Hour).Format(http.TimeFormat), busy(60)},
		{500, "", busy(1)}, {502, "", busy(1)}, {503, "7", busy(7)}, {504, "", busy(1)}, {529, "", busy(1)}, {408, "", busy(1)},
		{401, "", busy(30)}, {402, "", busy(30)}, {403, "", busy(30)}, {302, "", busy(30)}, {307, "", busy(30)},
		{400, "5", refused}, {404, "", refused}, {413, "", refused}, {422, "", refused}, {418, "", refused},
	} {
		bothWays(t, func(t *testing.T, stream bool) {
			b := modeltest.Behavior{Kind: modeltest.Status, Status: c.status, Header: map[string]string{"Retry-After": c.after}}
			if c.status/100 == 3 {
				b.Header["Location"] = "/v1/chat/completions"
			}
			s := serve(t, modeltest.Options{Behave: behaving(b)})
			m := connect(t, openai.Options{Endpoint: s.URL, Stream: stream, Now: func() time.Time { return now }})
			_, err := m.Complete(t.Context(), prompt("hi"))
			check(t, err, c.want)
			if n := len(s.Requests()); n != 1 {
				t.Errorf("%d: asked %d times", c.status, n)
			}
		})
	}
}

func TestBadAnswers(t *testing.T) {
	bad := want{contracts.CodeModelAnswer, true, 0}
	final := want{contracts.CodeModelAnswer, false, 0}
	raw := func(body string) modeltest.Behavior { return modeltest.Behavior{Kind: modeltest.Raw, Body: body} }
	event := func(body string) modeltest.Behavior { return raw("data: " + body + "\n\ndata: [DONE]\n\n") }
	html := raw("<html>upstream</html>")
	html.Header = map[string]string{"Content-Type": "text/html"}
	for name, c := range map[string]struct {
		plain, stream modeltest.Behavior
		want          want
	}{
		"html":        {html, html, bad},
		"not json":    {raw("upstream?"), event("upstream?"), bad},
		"wrong types": {raw(`{"choices":[{"message":{"content":7}}]}`), event(`{"choices":[{"delta":{"content":7}}]}`), bad},
		"wrong list":  {raw(`{"choices":{"upstream":1}}`), event(`{"choices":"x"}`), bad},
		"no choices":  {raw(`{"choices":[]}`), event(`{"choices":[]}`), bad},
		"null":        {raw(`null`), event(`null`), bad},
		"no body":     {raw(``), raw(``), bad},
		"two":         {raw(`{"choices":[]}{}`), event(`{}{}`), bad},
		"empty": {raw(`{"choices":[{"message":{"content":" "},"finish_reason":"stop"}]}`),
			event(`{"choices":[{"delta":{"content":null},"finish_reason":"stop"}]}`), bad},
		"empty at limit": {raw(`{"choices":[{"message":{"content":""},"finish_reason":"length"}]}`),
			event(`{"choices":[{"delta":{},"finish_reason":"length"}]}`), final},
		"cut":      {modeltest.Behavior{Kind: modeltest.Cut}, modeltest.Behavior{Kind: modeltest.Cut}, bad},
		"abort":    {modeltest.Behavior{Kind: modeltest.Abort}, modeltest.Behavior{Kind: modeltest.Abort}, bad},
		"reset":    {modeltest.Behavior{Kind: modeltest.Reset}, modeltest.Behavior{Kind: modeltest.Reset}, want{contracts.CodeModelFailed, true, 0}},
		"filtered": {modeltest.Behavior{Finish: "content_filter"}, modeltest.Behavior{Finish: "content_filter"}, want{contracts.CodeModelFailed, false, 0}},
		"broke off": {modeltest.Behavior{Finish: "insufficient_system_resource"},
			modeltest.Behavior{Finish: "insufficient_system_resource"}, want{contracts.CodeModelFailed, true, 0}},
		"error in a 200": {raw(`{"error":{"message":"upstream ` + canary + `"}}`),
			event(`{"error":{"message":"upstream ` + canary + `"}}`), want{contracts.CodeModelFailed, true, 0}},
		"giant":   {modeltest.Behavior{Kind: modeltest.Giant, Size: 1 << 30}, modeltest.Behavior{Kind: modeltest.Giant, Size: 1 << 30}, final},
		"endless": {modeltest.Behavior{Kind: modeltest.Endless}, modeltest.Behavior{Kind: modeltest.Endless}, final},
	} {
		bothWays(t, func(t *testing.T, stream bool) {
			b := c.plain
			if stream {
				b = c.stream
			}
			s := serve(t, modeltest.Options{Behave: behaving(b)})
			m := connect(t, openai.Options{Endpoint: s.URL, Stream: stream, MaxResponse: 4 << 10})
			_, err := m.Complete(t.Context(), prompt(name))
			check(t, err, c.want)
		})
	}
}

func TestTimeouts(t *testing.T) {
	late := want{contracts.CodeModelTimeout, true, 0}
	held := modeltest.Behavior{Gate: modeltest.NewGate()} // never opened: the connection hangs
	for name, c := range map[string]struct {
		b     modeltest.Behavior
		o     openai.Options
		words string
	}{
		"no headers":  {modeltest.Behavior{Latency: time.Hour}, openai.Options{FirstToken: near}, "first token"},
		"no body":     {modeltest.Behavior{Kind: modeltest.Silent}, openai.Options{FirstToken: near}, "first token"},
		"not entered": {held, openai.Options{FirstToken: near}, "first token"},
		"stall":       {modeltest.Behavior{Kind: modeltest.Stall}, openai.Options{Idle: near}, "further bytes"},
		"drip":        {modeltest.Behavior{Kind: modeltest.Endless, Every: time.Millisecond}, openai.Options{Total: 3 * near}, "complete answer"},
	} {
		bothWays(t, func(t *testing.T, stream bool) {
			s := serve(t, modeltest.Options{Behave: behaving(c.b)})
			c.o.Endpoint, c.o.Stream = s.URL, stream
			_, err := connect(t, c.o).Complete(t.Context(), prompt(name))
			check(t, err, late)
			if err != nil && !strings.Contains(err.Error(), c.words) {
				t.Errorf("%s: err = %v", name, err)
			}
		})
	}
}

// canned answers every request with the same event stream, without a network.
type canned string

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, Request: r, Header: http.Header{"Content-Type": {"text/event-stream"}},
		Body: io.NopCloser(iotest.OneByteReader(strings.NewReader(string(c)))),
	}, nil
}

func TestASlowReceiverIsNotASlowProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connect(t, openai.Options{
			Endpoint: "http://h", Stream: true, Idle: time.Second, FirstToken: time.Second,
			Transport: canned("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n" +
				"data: {\"choices\":[{\"delta\":{\"content\":\"b\"},\"finish_reason\":\"stop\"}]}\n\n"),
		})
		r := prompt("hi")
		r.OnDelta = func(string) { <-time.After(10 * time.Second) } // of the bubble's time
		if a, err := c.Complete(t.Context(), r); err != nil || a.Text != "ab" {
			t.Errorf("answer = %+v, %v", a, err)
		}
	})
}

func TestTheCallersOwnEnd(t *testing.T) {
	bothWays(t, func(t *testing.T, stream bool) {
		gate := modeltest.NewGate()
		s := serve(t, modeltest.Options{Behave: behaving(modeltest.Behavior{Gate: gate})})
		c := connect(t, openai.Options{Endpoint: s.URL, Stream: stream})
		ctx, cancel := context.WithCancel(t.Context())
		errs := make(chan error, 1)
		go func() {
			_, err := c.Complete(ctx, prompt("hi"))
			errs <- err
		}()
		<-gate.Entered()
		cancel()
		err := <-errs
		if _, ours := errors.AsType[*contracts.Error](err); ours || !errors.Is(err, context.Canceled) {
			t.Errorf("err = %v", err)
		}
	})
}

func TestNoProvider(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	for _, endpoint := range []string{"http://" + address + "/v1?sig=" + canary, "http://moltbot.invalid/v1"} {
		_, err := connect(t, openai.Options{Endpoint: endpoint}).Complete(t.Context(), prompt("hi"))
		check(t, err, want{contracts.CodeModelFailed, true, 0})
	}
}

func TestUntrustedCertificate(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = nil
	s.StartTLS()
	defer s.Close()
	_, err := connect(t, openai.Options{Endpoint: s.URL}).Complete(t.Context(), prompt("hi"))
	check(t, err, want{contracts.CodeModelFailed, true, 0})
}

func TestTheKeyIsRedacted(t *testing.T) {
	long := strings.Repeat("x", 505)
	for _, words := range []string{
		"upstream: bad key " + canary, "Bearer " + canary + canary, canary[:12] + "****" + canary[20:],
		base64.StdEncoding.EncodeToString([]byte(canary)), long + canary, strings.Repeat("x", 4<<10-9) + canary,
		"\x00\xff" + canary + "\r\n\x1b[31m", `{"error":{"message":"` + canary + `"}}`,
	} {
		for _, status := range []int{400, 401, 429, 500} {
			s := serve(t, modeltest.Options{Behave: behaving(modeltest.Behavior{Kind: modeltest.Status, Status: status, Body: words})})
			_, err := connect(t, openai.Options{Endpoint: s.URL}).Complete(t.Context(), prompt("hi"))
			check(t, err, want{contracts.CodeModelFailed, status != 400, 0})
			if strings.ContainsAny(err.Error(), "\r\n\x00\x1b") {
				t.Errorf("control characters in %q", err)
			}
		}
	}
}
