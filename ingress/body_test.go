package ingress_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"moltbot/contracts"
	"moltbot/ingress"
)

// Every body that is refused, and what the detail must name.
func TestBadBodies(t *testing.T) {
	r := newRig(t, func(o *ingress.Options) { o.MaxBody = 4 << 20 })
	deep := func(n int) string {
		return `{"message":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + "}"
	}
	var keys strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&keys, `,"k%d":1`, i)
	}
	for name, c := range map[string]struct{ body, names string }{
		"empty":               {"", "empty"},
		"blank":               {" \n", "empty"},
		"null":                {"null", "JSON object"},
		"list":                {"[]", "JSON object"},
		"string":              {`"x"`, "JSON object"},
		"number":              {"1", "JSON object"},
		"cut":                 {`{"message":"hi"`, "too early at byte 15"},
		"malformed":           {`{"message" "hi"}`, "malformed JSON at byte 11"},
		"trailing data":       {`{"message":"hi"} x`, "at byte 17"},
		"two objects":         {`{"message":"hi"}{"message":"ho"}`, "at byte 16"},
		"unknown field":       {say("hi", `"role":"admin"`), "unknown field \"/role\""},
		"other case":          {`{"Message":"hi"}`, "unknown field \"/Message\""},
		"field twice":         {say("hi", `"message":"ho"`), "twice at byte 16 (/message)"},
		"message a number":    {`{"message":1}`, `"/message" must be a string`},
		"message a list":      {`{"message":["hi"]}`, `"/message" must be a string`},
		"token a number":      {say("hi", `"token":1`), `"/token" must be a string`},
		"session a number":    {say("hi", `"session_id":1`), `"/session_id" must be a string`},
		"model a number":      {say("hi", `"model":1`), `"/model" must be a string`},
		"callback a number":   {say("hi", `"callback_url":1`), `"/callback_url" must be a string`},
		"stream a string":     {say("hi", `"stream":"true"`), `"/stream" must be true or false`},
		"timeout 1.5":         {say("hi", `"timeout":1.5`), `"/timeout" must be a whole number`},
		"timeout 1e400":       {say("hi", `"timeout":1e400`), `"/timeout" must be a whole number`},
		"timeout 2^63":        {say("hi", `"timeout":9223372036854775808`), `"/timeout" must be a whole number`},
		"timeout a string":    {say("hi", `"timeout":"5"`), `"/timeout" must be a whole number`},
		"timeout negative":    {say("hi", `"timeout":-1`), `"timeout" must be 0 to 3600`},
		"timeout 3601":        {say("hi", `"timeout":3601`), `"timeout" must be 0 to 3600`},
		"no UTF-8":            {"{\"message\":\"a\xffb\"}", "not valid UTF-8 at byte 13"},
		"lone surrogate":      {`{"message":"\ud800"}`, "at byte 12"},
		"depth 33":            {deep(33), "deeper than 32 levels at byte 43"},
		"depth 65":            {deep(65), "deeper than 32"},
		"depth 10000":         {deep(10000), "deeper than 32"},
		"depth 32":            {deep(32), `"/message" must be a string`}, // deep enough to be read
		"many keys":           {`{"message":"hi"` + keys.String() + "}", `more than 65536 names`},
		"no message":          {"{}", `"message" must not be empty`},
		"message null":        {`{"message":null}`, `"message" must not be empty`},
		"blank message":       {say(" \t\n\u3000"), `"message" must not be empty`},
		"too many characters": {say(strings.Repeat("世", 2049)), "2049 characters, at most 2048"},
		"session form":        {say("hi", `"session_id":"a b"`), "session_id"},
		"session of 65":       {say("hi", `"session_id":"`+strings.Repeat("a", 65)+`"`), "session_id"},
		"model form":          {say("hi", `"model":"a b"`), "model"},
	} {
		t.Run(name, func(t *testing.T) {
			if p := problem(t, r.post(c.body), contracts.CodeBadRequest); !strings.Contains(p.Detail, c.names) {
				t.Errorf("detail %q does not name %q", p.Detail, c.names)
			}
		})
	}
	if n := r.stored(); n != 0 {
		t.Errorf("%d refused messages were stored", n)
	}
}

// What is unusual and right is taken, and comes back as it was.
func TestOddMessages(t *testing.T) {
	r := newRig(t)
	r.work(answered)
	for name, text := range map[string]string{
		"2048 characters of three bytes": strings.Repeat("世", 2048), "right to left": "שלום", "marks": "ế",
		"a line break for the log": "x\n{\"level\":\"error\"}", "markup": "<script>&amp;</script>",
		"an emoji": "👩‍👩‍👧",
	} {
		res := r.post(say(text))
		if res.status != 200 || res.chat(t).Reply != "you said "+text {
			t.Errorf("%s: %d %.200s", name, res.status, res.body)
		}
	}
}

func TestMediaTypes(t *testing.T) {
	r := newRig(t)
	for name, with := range map[string]string{
		"text": "Content-Type: text/plain", "none": "Content-Type:", "form": "Content-Type: application/x-www-form-urlencoded",
		"multipart": "Content-Type: multipart/form-data; boundary=x", "UTF-16": "Content-Type: application/json; charset=utf-16",
		"two charsets": "Content-Type: application/json; charset=utf-8; charset=utf-16", "gzip": "Content-Encoding: gzip",
		"suffix": "Content-Type: application/problem+json",
	} {
		t.Run(name, func(t *testing.T) { problem(t, r.post(say("hi"), with), contracts.CodeMediaType) })
	}
	if res := r.post(say("hi", `"timeout":0`), `Content-Type: Application/JSON; Charset="UTF-8"`); res.status != 202 {
		t.Errorf("%d %s", res.status, res.body)
	}
}

func TestBodyLimit(t *testing.T) {
	r := newRig(t, func(o *ingress.Options) { o.MaxBody = 100 })
	exact := `{"timeout":0,"message":"hi"` + strings.Repeat(" ", 100-28) + "}"
	chunked := func(body string) response {
		req := r.request(t.Context(), http.MethodPost, "/api/chat", body)
		req.ContentLength, req.Body = -1, io.NopCloser(strings.NewReader(body))
		res, err := r.do(req)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	for name, send := range map[string]func(string) response{
		"with length": func(b string) response { return r.post(b) }, "chunked": chunked,
	} {
		if res := send(exact); res.status != 202 {
			t.Errorf("%s, 100 bytes: %d %s", name, res.status, res.body)
		}
		res := send(exact + " ")
		problem(t, res, contracts.CodeTooLarge)
		if !res.closed {
			t.Errorf("%s: the connection stays open: %v", name, res.header)
		}
	}
}
