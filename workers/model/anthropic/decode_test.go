package anthropic

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/anthropics/anthropic-sdk-go/packages/ssestream"

	"moltbot/workers/model/upstream"
)

func heard(b string, onDelta func(string)) (*upstream.Reply, error) {
	s := &stream{
		dec:  ssestream.NewDecoder(&http.Response{Body: io.NopCloser(strings.NewReader(b))}),
		sink: &upstream.Sink{OnDelta: onDelta},
	}
	return s.read()
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"type":"message","content":[{"type":"text","text":"hi"},{"type":"tool_use","id":"a","name":"f","input":{}}],"stop_reason":"tool_use","usage":{"input_tokens":1e99}}`))
	f.Add([]byte("event: x\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n" +
		"data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\ndata: {\"type\":\"message_stop\"}\n\n"))
	f.Add([]byte("data: {\"type\":\"content_block_start\",\"index\":-3,\"content_block\":{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"f\"}}\n\n" +
		"data: {\"type\":\"content_block_delta\",\"index\":-3,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\"}}\n\n" +
		"data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"}}\n\ndata: {\"type\":\"message_stop\"}\n\n"))
	f.Add([]byte("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := readPlain(strings.NewReader(string(b))); err == nil {
			sound(t, r)
		}
		var shown strings.Builder
		r, err := heard(string(b), func(d string) { shown.WriteString(d) })
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
	if r.Usage.Prompt < -1 || r.Usage.Prompt > 30_000_000 || r.Usage.Completion < -1 || r.Usage.Completion > 10_000_000 {
		t.Fatalf("usage %+v", r.Usage)
	}
	if !utf8.ValidString(r.Text) || r.Finish == "" || len(r.Calls) > upstream.MaxCalls {
		t.Fatalf("reply %+v", r)
	}
	for _, c := range r.Calls {
		if c.Name == "" || c.ID == "" || c.Arguments == "" || !utf8.ValidString(c.Arguments) {
			t.Fatalf("call %+v", c)
		}
	}
}

func TestUsageOfACachedPrompt(t *testing.T) {
	begin := newCounts().with(json.RawMessage(`{"input_tokens":5,"cache_creation_input_tokens":20,"cache_read_input_tokens":300,"output_tokens":1}`))
	if got, want := begin.usage(), (upstream.Usage{Prompt: 325, Completion: 1}); got != want {
		t.Errorf("at the beginning %+v, want %+v", got, want)
	}
	end := begin.with(json.RawMessage(`{"output_tokens":80,"cache_read_input_tokens":null,"output_tokens_details":{"thinking_tokens":50}}`))
	if got, want := end.usage(), (upstream.Usage{Prompt: 325, Completion: 80, Hidden: 50}); got != want {
		t.Errorf("at the end %+v, want %+v", got, want)
	}
}

func TestStreamDialects(t *testing.T) {
	const end = "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\ndata: {\"type\":\"message_stop\"}\n\n"
	const ok = "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"ok\"}}\n\n"
	for name, c := range map[string]struct {
		body string
		good bool
	}{
		"thinking":        {"data: {\"type\":\"content_block_start\",\"content_block\":{\"type\":\"thinking\",\"thinking\":\"hm\"}}\n\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"hm\"}}\n\n" + ok + end, true},
		"new things":      {"data: {\"type\":\"weather_report\"}\n\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"smell_delta\"}}\n\n" + ok + end, true},
		"crlf":            {strings.ReplaceAll(ok+end, "\n", "\r\n"), true},
		"text at start":   {"data: {\"type\":\"content_block_start\",\"content_block\":{\"type\":\"text\",\"text\":\"ok\"}}\n\n" + end, true},
		"input to nobody": {ok + "data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\"}}\n\n" + end, false},
		"no reason":       {ok + "data: {\"type\":\"message_stop\"}\n\n", false},
		"only the reason": {ok + "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n", false},
	} {
		r, err := heard(c.body, nil)
		if (err == nil) != c.good || c.good && r.Text != "ok" {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}
