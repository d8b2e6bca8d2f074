package bench

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/valyala/fasthttp"
)

// Kinds of answers that are no answer.
const (
	faultEmpty = "empty answer"
	faultOther = "answer to another request"
)

func post(r *fasthttp.Request, path string) {
	r.Header.SetMethod(fasthttp.MethodPost)
	r.Header.SetRequestURI(path)
	r.Header.SetContentType("application/json")
}

// healthTarget asks for the health.
type healthTarget struct{}

func (healthTarget) Init(r *fasthttp.Request) { post(r, "/api/health") }

func (healthTarget) Prepare(*fasthttp.Request, uint64) {}

func (healthTarget) Judge(r *fasthttp.Response, _ uint64) string {
	if !bytes.Contains(r.Body(), []byte(`"healthy"`)) {
		return faultEmpty
	}
	return ""
}

// chatTarget asks in as many conversations as there are sessions.
type chatTarget struct {
	sessions uint64
	token    string // the floor wants none
}

func (t *chatTarget) login(token string) { t.token = token }

func (t *chatTarget) Init(r *fasthttp.Request) {
	post(r, "/api/chat")
	if t.token != "" {
		r.Header.Set("Authorization", "Bearer "+t.token)
	}
}

func appendMessage(b []byte, n uint64) []byte {
	b = append(b, "this is message number "...)
	b = strconv.AppendUint(b, n, 10)
	return append(b, " of the bench"...)
}

func (t *chatTarget) Prepare(r *fasthttp.Request, n uint64) {
	b := append(make([]byte, 0, 128), `{"message":"`...)
	b = appendMessage(b, n)
	b = append(b, `","session_id":"bench-`...)
	b = strconv.AppendUint(b, n%t.sessions, 10)
	r.SetBodyRaw(append(b, `"}`...))
}

// Judge wants the message to be quoted where the demo model quotes the one that
// it answers; earlier ones of the conversation are quoted elsewhere.
func (t *chatTarget) Judge(r *fasthttp.Response, n uint64) string {
	want := append(make([]byte, 0, 128), `You wrote: \"`...)
	want = append(appendMessage(want, n), `\"`...)
	if !bytes.Contains(r.Body(), want) {
		if len(r.Body()) == 0 {
			return faultEmpty
		}
		return faultOther
	}
	return ""
}

// freshTarget asks in a new session each time, which remembers nothing.
type freshTarget struct{ chatTarget }

func (t *freshTarget) Prepare(r *fasthttp.Request, n uint64) {
	b := append(make([]byte, 0, 128), `{"message":"`...)
	b = appendMessage(b, n)
	b = append(b, `","session_id":"bench-`...)
	b = strconv.AppendUint(b, n, 10)
	r.SetBodyRaw(append(b, `"}`...))
}

// completionTarget asks the same of our own /v1, where each request is a
// conversation of its own.
type completionTarget struct{ chatTarget }

func (t *completionTarget) Init(r *fasthttp.Request) {
	t.chatTarget.Init(r)
	post(r, "/v1/chat/completions")
}

func (t *completionTarget) Prepare(r *fasthttp.Request, n uint64) {
	b := append(make([]byte, 0, 128), `{"model":"demo","messages":[{"role":"user","content":"`...)
	r.SetBodyRaw(append(appendMessage(b, n), `"}]}`...))
}

// cacheTarget asks the same in a new session each time, so that all prompts are alike.
type cacheTarget struct {
	chatTarget
	fresh atomic.Int64 // answers that were not from the cache
}

// mostFresh is more often than the answer can run out during a bench.
const mostFresh = 10

func (t *cacheTarget) Prepare(r *fasthttp.Request, n uint64) {
	b := append(make([]byte, 0, 128), `{"message":"`...)
	b = appendMessage(b, 0)
	b = append(b, `","session_id":"bench-`...)
	b = strconv.AppendUint(b, n, 10)
	r.SetBodyRaw(append(b, `"}`...))
}

// Judge wants an answer from the cache, but for the first one.
func (t *cacheTarget) Judge(r *fasthttp.Response, _ uint64) string {
	if fault := t.chatTarget.Judge(r, 0); fault != "" {
		return fault
	}
	if !bytes.Contains(r.Body(), []byte(`"cached":true`)) && t.fresh.Add(1) > mostFresh {
		return "answer that is not from the cache"
	}
	return ""
}

// openAITarget asks any server that speaks OpenAI's chat completions.
type openAITarget struct{ host, path, model, key string }

func (t *openAITarget) Init(r *fasthttp.Request) {
	post(r, t.path)
	r.Header.SetHost(t.host)
	if t.key != "" {
		r.Header.Set("Authorization", "Bearer "+t.key)
	}
}

func (t *openAITarget) Prepare(r *fasthttp.Request, n uint64) {
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	body, err := json.Marshal(struct {
		Model    string    `json:"model,omitempty"`
		Messages []message `json:"messages"`
	}{t.model, []message{{"user", string(appendMessage(nil, n))}}})
	if err == nil { // it always is: there are only strings
		r.SetBodyRaw(body)
	}
}

// Judge cannot know what a real model says, only that it said something.
func (t *openAITarget) Judge(r *fasthttp.Response, _ uint64) string {
	var answer struct {
		Choices []struct {
			Message struct {
				Content string `json:"content"`
			} `json:"message"`
		} `json:"choices"`
	}
	if json.Unmarshal(r.Body(), &answer) != nil {
		return "answer that is not OpenAI's"
	}
	if len(answer.Choices) == 0 || answer.Choices[0].Message.Content == "" {
		return faultEmpty
	}
	return ""
}

// foreign is a server that somebody else runs.
func (b *bench) foreign() (*stand, error) {
	u, err := parseAgainst(b.o)
	if err != nil {
		return nil, err
	}
	path := strings.TrimSuffix(u.Path, "/")
	if !strings.HasSuffix(path, "/v1") {
		path += "/v1"
	}
	s := &stand{target: &openAITarget{host: u.Host, path: path + "/chat/completions", model: b.o.Model, key: b.o.Key}}
	port := u.Port()
	if u.Scheme == "https" {
		s.tls = &tls.Config{ServerName: u.Hostname()}
		defaults(&port, "443")
	}
	defaults(&port, "80")
	s.addresses = []string{net.JoinHostPort(u.Hostname(), port)}
	return s, nil
}

// loopback is asked of the name as it stands: looking names up could answer
// differently when the load dials.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
