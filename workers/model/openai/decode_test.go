package openai

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/openai/openai-go/v3/packages/ssestream"

	"moltbot/workers/model/upstream"
)

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1e99}}`))
	f.Add([]byte("data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\r\n\r\ndata: [DONE]\n\n"))
	f.Add([]byte(": x\nevent: error\ndata: {\"error\":{}}\n\n"))
	f.Add([]byte(`{"choices":[{"message":{"tool_calls":[{"index":3,"id":"a","function":{"name":"f","arguments":"{}"}}]}}]}`))
	f.Add([]byte("data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":127,\"function\":{\"name\":\"f\"}}]}}]}\n\ndata: [DONE]\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := readPlain(strings.NewReader(string(b))); err == nil {
			sound(t, r)
		}
		var shown strings.Builder
		s := &stream{
			dec:  ssestream.NewDecoder(&http.Response{Body: io.NopCloser(strings.NewReader(string(b)))}),
			sink: &upstream.Sink{OnDelta: func(d string) { shown.WriteString(d) }},
		}
		r, err := s.read()
		if err != nil {
			return
		}
		sound(t, r)
		if shown.String() != r.Text {
			t.Fatalf("shown %q, answered %q", shown.String(), r.Text)
		}
	})
}

func sound(t *testing.T, r *upstream.Reply) {
	t.Helper()
	for _, n := range []int{r.Usage.Prompt, r.Usage.Completion} {
		if n < -1 || n > 10_000_000 {
			t.Fatalf("usage %+v", r.Usage)
		}
	}
	if !utf8.ValidString(r.Text) || r.Finish == "" {
		t.Fatalf("reply %+v", r)
	}
	if len(r.Calls) > upstream.MaxCalls {
		t.Fatalf("%d calls", len(r.Calls))
	}
	for _, c := range r.Calls {
		if c.Name == "" || c.ID == "" || !utf8.ValidString(c.Arguments) {
			t.Fatalf("call %+v", c)
		}
	}
}
