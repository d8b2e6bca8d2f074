package ingress_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
	"moltbot/ingress"
)

func TestBadCompletions(t *testing.T) {
	r := newOpenAIRig(t)
	calls := func(s string) string { return user("x") + `,{"role":"assistant","tool_calls":[` + s + `]}` }
	call := `{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}`
	image := func(url string) string {
		return `{"role":"user","content":[{"type":"image_url","image_url":{"url":"` + url + `"}}]}`
	}
	for name, c := range map[string]struct{ body, param string }{
		"empty": {"", ""}, "list": {"[]", ""}, "null": {"null", ""}, "cut": {`{"model":"fast"`, ""}, "two": {ask(user("x")) + "{}", ""},
		"not UTF-8": {ask("{\"role\":\"user\",\"content\":\"\xff\"}"), ""}, "half a pair": {ask(`{"role":"user","content":"\ud800"}`), ""},
		"twice":            {ask(user("x"), `"model":"slow"`), ""},
		"deep":             {ask(user("x"), `"x":`+strings.Repeat("[", 70)+strings.Repeat("]", 70)), ""},
		"no model":         {`{"messages":[` + user("x") + `]}`, "model"},
		"model a number":   {`{"model":1,"messages":[` + user("x") + `]}`, "model"},
		"no messages":      {`{"model":"fast"}`, "messages"},
		"none":             {ask(""), "messages"},
		"messages a text":  {`{"model":"fast","messages":"x"}`, "messages"},
		"message a text":   {ask(`"x"`), "messages[0]"},
		"too many":         {ask(strings.Repeat(user("x")+",", 1024) + user("x")), "messages"},
		"no role":          {ask(`{"content":"x"}`), "messages[0].role"},
		"other role":       {ask(`{"role":"root","content":"x"}`), "messages[0].role"},
		"role a number":    {ask(`{"role":1}`), "messages[0].role"},
		"function":         {ask(`{"role":"function","name":"f","content":"x"}`), "messages[0].role"},
		"no content":       {ask(`{"role":"user"}`), "messages[0].content"},
		"blank":            {ask(user(" \n")), "messages[0].content"},
		"content a number": {ask(`{"role":"user","content":1}`), "messages[0].content"},
		"content true":     {ask(`{"role":"user","content":true}`), "messages[0].content"},
		"no parts":         {ask(`{"role":"user","content":[]}`), "messages[0].content"},
		"part a text":      {ask(`{"role":"user","content":["x"]}`), "messages[0].content"},
		"audio":            {ask(`{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"x"}}]}`), "messages[0].content[0].type"},
		"file":             {ask(`{"role":"user","content":[{"type":"text","text":"x"},{"type":"file","file":{}}]}`), "messages[0].content[1].type"},
		"http image":       {ask(image("http://x/i.png")), "messages[0].content[0].image_url.url"},
		"file image":       {ask(image("file:///etc/passwd")), "messages[0].content[0].image_url.url"},
		"bare data":        {ask(image("data:text/html;base64,eA==")), "messages[0].content[0].image_url.url"},
		"data alone":       {ask(image("data:image/png;base64,")), "messages[0].content[0].image_url.url"},
		"data of no kind":  {ask(image("data:eA==")), "messages[0].content[0].image_url.url"},
		"odd data":         {ask(image("data:image/png;base64,eA eA")), "messages[0].content[0].image_url.url"},
		"data, more":       {ask(image("data:image/png;base64,eA==,eA==")), "messages[0].content[0].image_url.url"},
		"data, padded":     {ask(image("data:image/png;base64,eA===")), "messages[0].content[0].image_url.url"},
		"image with user":  {ask(image("https://u:p@x/i.png")), "messages[0].content[0].image_url.url"},
		"detail":           {ask(`{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x/i","detail":"huge"}}]}`), "messages[0].content[0].image_url.detail"},
		"image of system":  {ask(`{"role":"system","content":[{"type":"image_url","image_url":{"url":"https://x/i"}}]},` + user("x")), "messages[0].content"},
		"long name":        {ask(`{"role":"user","content":"x","name":"` + strings.Repeat("n", 65) + `"}`), "messages[0].name"},
		"assistant alone":  {ask(`{"role":"assistant","content":"y"}`), "messages"},
		"call unanswered":  {ask(calls(call)), "messages"},
		"call, then user":  {ask(calls(call) + "," + user("y")), "messages[2].role"},
		"call of a kind":   {ask(calls(`{"id":"c","type":"custom","custom":{}}`)), "messages[1].tool_calls[0].type"},
		"call without id":  {ask(calls(`{"type":"function","function":{"name":"f"}}`)), "messages[1].tool_calls[0].id"},
		"call twice":       {ask(calls(call + "," + call)), "messages[1].tool_calls[1].id"},
		"call of nothing":  {ask(calls(`{"id":"c","type":"function","function":{}}`)), "messages[1].tool_calls[0].function.name"},
		"tool of nothing":  {ask(user("x") + `,{"role":"tool","tool_call_id":"c","content":"y"}`), "messages[1].tool_call_id"},
		"no user":          {ask(`{"role":"assistant","tool_calls":[` + call + `]},{"role":"tool","tool_call_id":"c","content":"y"}`), "messages"},
		"old call":         {ask(user("x") + `,{"role":"assistant","function_call":{"name":"f"}},` + user("y")), "messages[1].function_call"},
		"functions":        {ask(user("x"), `"functions":[]`), "functions"},
		"n":                {ask(user("x"), `"n":2`), "n"},
		"temperature":      {ask(user("x"), `"temperature":2.1`), "temperature"},
		"temperature word": {ask(user("x"), `"temperature":"hot"`), "temperature"},
		"too hot":          {ask(user("x"), `"temperature":1e400`), "temperature"},
		"top_p":            {ask(user("x"), `"top_p":-0.1`), "top_p"},
		"presence":         {ask(user("x"), `"presence_penalty":3`), "presence_penalty"},
		"frequency":        {ask(user("x"), `"frequency_penalty":-3`), "frequency_penalty"},
		"max_tokens":       {ask(user("x"), `"max_tokens":0`), "max_tokens"},
		"max half":         {ask(user("x"), `"max_completion_tokens":1.5`), "max_completion_tokens"},
		"max huge":         {ask(user("x"), `"max_completion_tokens":99999999999999999999`), "max_completion_tokens"},
		"stops":            {ask(user("x"), `"stop":["a","b","c","d","e"]`), "stop"},
		"stop empty":       {ask(user("x"), `"stop":""`), "stop"},
		"stop object":      {ask(user("x"), `"stop":{}`), "stop"},
		"effort":           {ask(user("x"), `"reasoning_effort":"a b"`), "reasoning_effort"},
		"format":           {ask(user("x"), `"response_format":"json"`), "response_format"},
		"tools object":     {ask(user("x"), `"tools":{}`), "tools"},
		"tools of texts":   {ask(user("x"), `"tools":["x"]`), "tools"},
		"tool of a kind":   {ask(user("x"), `"tools":[{"type":"web_search"}]`), "tools[0]"},
		"too many tools":   {ask(user("x"), `"tools":[`+strings.Repeat(`{"type":"function","function":{"name":"f"}},`, 128)+`{}]`), "tools"},
		"large tools":      {ask(user("x"), `"tools":[{"type":"function","function":{"name":"`+strings.Repeat("f", 256<<10)+`"}}]`), "tools"},
		"choice alone":     {ask(user("x"), `"tool_choice":"required"`), "tool_choice"},
		"choice a number":  {ask(user("x"), `"tool_choice":1`), "tool_choice"},
		"stream a text":    {ask(user("x"), `"stream":"yes"`), "stream"},
	} {
		t.Run(name, func(t *testing.T) {
			f := refused(t, r.complete(c.body), 400, "")
			param := ""
			if f.Param != nil {
				param = *f.Param
			}
			if f.Type != "invalid_request_error" || param != c.param || len(f.Message) > 400 {
				t.Errorf("param %q, want %q: %+v", param, c.param, f)
			}
		})
	}
	if n := r.stored(); n != 0 {
		t.Errorf("%d messages got in", n)
	}
}

// What clients send and means nothing here does not hurt.
func TestOddCompletions(t *testing.T) {
	r := newOpenAIRig(t)
	r.work(answered)
	for name, body := range map[string]string{
		"nulls": ask(`{"role":"user","content":"x","name":null,"tool_calls":null,"tool_call_id":null}`, `"temperature":null`, `"stop":null`, `"tools":null`,
			`"tool_choice":null`, `"response_format":null`, `"n":null`, `"stream":null`, `"stream_options":null`, `"functions":null`, `"seed":null`, `"reasoning_effort":null`),
		"others":         ask(user("x"), `"user":"u"`, `"logit_bias":{}`, `"logprobs":false`, `"store":true`, `"metadata":{"a":"b"}`, `"modalities":["text"]`, `"service_tier":"auto"`),
		"all choices":    ask(user("x"), `"temperature":2`, `"top_p":1`, `"max_tokens":5`, `"max_completion_tokens":7`, `"stop":["a"]`, `"seed":-5`, `"presence_penalty":-2`, `"frequency_penalty":2`, `"reasoning_effort":"low"`, `"response_format":{"type":"json_object"}`, `"n":1`),
		"no tools":       ask(user("x"), `"tools":[]`, `"tool_choice":"auto"`, `"parallel_tool_calls":true`),
		"echoed":         ask(user("x") + `,{"role":"assistant","content":"y","refusal":null,"annotations":[],"audio":null},` + user("z")),
		"no system":      ask(`{"role":"system","content":null},` + user("x")),
		"system alone":   ask(`{"role":"system","content":"x"}`),
		"system last":    ask(user("x") + `,{"role":"developer","content":"in French"}`),
		"assistant last": ask(user("x") + `,{"role":"assistant","content":"y"}`),
		"many":           ask(strings.Repeat(user("x")+",", 1023) + user("y")),
		"any model":      strings.Replace(ask(user("x")), `"fast"`, `"any/vendor/model"`, 1),
	} {
		if res := r.complete(body); res.status != 200 {
			t.Errorf("%s: %d %.300s", name, res.status, res.body)
		}
	}
}

func TestCompletionErrors(t *testing.T) {
	r := newOpenAIRig(t, func(o *ingress.Options) { o.Rate = contracts.Rate{PerSecond: 1, Burst: 30} })
	good := ask(user("x"))
	for name, c := range map[string]struct {
		method, path, body string
		with               []string
		status             int
		code               string
	}{
		"no token":      {"POST", "/v1/chat/completions", good, []string{"Authorization:"}, 401, "invalid_api_key"},
		"bad token":     {"POST", "/v1/chat/completions", good, []string{"Authorization: Bearer sk-x"}, 401, "invalid_api_key"},
		"token in body": {"POST", "/v1/chat/completions", ask(user("x"), `"token":"`+ann+`"`), []string{"Authorization:"}, 401, "invalid_api_key"},
		"no scope":      {"POST", "/v1/chat/completions", good, []string{"Authorization: Bearer " + guest}, 403, "insufficient_permissions"},
		"unknown model": {"POST", "/v1/chat/completions", strings.Replace(good, "fast", "gpt-9", 1), nil, 404, "model_not_found"},
		"not for him":   {"POST", "/v1/chat/completions", strings.Replace(good, "fast", "slow", 1), []string{"Authorization: Bearer " + poor}, 404, "model_not_found"},
		"strange model": {"POST", "/v1/chat/completions", strings.Replace(good, "fast", "a b", 1), nil, 404, "model_not_found"},
		"media type":    {"POST", "/v1/chat/completions", good, []string{"Content-Type: text/plain"}, 415, "unsupported_media"},
		"large":         {"POST", "/v1/chat/completions", ask(user(strings.Repeat("x", 983040))), nil, 413, "too_large"},
		"path":          {"POST", "/v1/embeddings", "{}", nil, 404, "unknown_url"},
		"root":          {"GET", "/v1", "", nil, 404, "unknown_url"},
		"method":        {"GET", "/v1/chat/completions", "", nil, 405, "method_not_allowed"},
		"model path":    {"GET", "/v1/models/none", "", nil, 404, "model_not_found"},
	} {
		t.Run(name, func(t *testing.T) {
			res := r.call(c.method, c.path, c.body, c.with...)
			f := refused(t, res, c.status, c.code)
			if strings.Contains(res.body, "CANARY") || f.Type != "invalid_request_error" {
				t.Errorf("%s", res.body)
			}
			if (c.status == 401) != (res.header.Get("WWW-Authenticate") != "") || c.status == 413 && !strings.Contains(f.Message, "URL") {
				t.Errorf("%s %v", res.body, res.header)
			}
		})
	}
	if n := r.stored(); n != 0 {
		t.Errorf("%d messages got in", n)
	}
	for range 40 {
		if res := r.call(http.MethodGet, "/v1/models", ""); res.status != 200 {
			if f := refused(t, res, 429, "rate_limit_exceeded"); f.Type != "requests" || res.header.Get("Retry-After") == "" {
				t.Errorf("%s %v", res.body, res.header)
			}
			return
		}
	}
	t.Error("the rate has no limit")
}

// What fits into a request fits into the queue, the longest message included.
func TestLargestCompletion(t *testing.T) {
	r := newBareRig(t)
	r.makeStream(streamOf1MiB)
	_, models := withModels(t)
	r.run(models)
	w := r.work(answered)
	for _, fill := range []string{"x", "<", "世"} {
		body := ask(user(""))
		room := 983040 - len(body)
		body = ask(fmt.Sprintf(`{"role":"user","content":"%s"}`, strings.Repeat(fill, room/len(fill))))
		if res := r.complete(body); res.status != 200 {
			t.Errorf("%q: %d %.200s", fill, res.status, res.body)
			continue
		}
		if m := await(t, "the message", w.taken); len(m.Prompt) < 900_000 || len(m.Text) > 4096 {
			t.Errorf("%q: prompt %d, text %d", fill, len(m.Prompt), len(m.Text))
		}
	}
	// A session keeps the text as well, so only half of it fits.
	res := r.complete(ask(user(strings.Repeat("x", 600_000))), "X-Session-Id: s")
	refused(t, res, 413, "too_large")
	if r.stored() != 3 {
		t.Errorf("%d stored", r.stored())
	}
}

var streamOf1MiB = jetstream.StreamConfig{MaxMsgSize: 1 << 20}
