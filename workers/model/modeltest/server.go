// Package modeltest is an OpenAI-compatible provider for tests: it records what
// it is asked, answers plain or streamed as asked, and misbehaves on request.
// However long it holds a request, it never outlives the client's patience or
// its own Close.
package modeltest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"
)

// Message is one message of a recorded prompt.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Request is one recorded request.
type Request struct {
	Model               string    `json:"model"`
	Messages            []Message `json:"messages"`
	Stream              bool      `json:"stream"`
	User                string    `json:"user"`
	MaxTokens           int       `json:"max_tokens"`
	MaxCompletionTokens int       `json:"max_completion_tokens"`
	Temperature         *float64  `json:"temperature"`
	StreamOptions       struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`

	// URL is the path and query it came to; Header is the request's.
	URL    string      `json:"-"`
	Header http.Header `json:"-"`
}

// LastUser is the text of the newest user message.
func (r Request) LastUser() string {
	for _, m := range slices.Backward(r.Messages) {
		if m.Role == "user" {
			return m.Content
		}
	}
	return ""
}

// Options say what a server expects and answers.
type Options struct {
	// Key must come as the bearer token. Default: none is checked.
	Key string
	// Reply gives the answer's text. Default: "echo: " and the last user message.
	Reply func(Request) string
	// Behave gives how a request is treated. Default: a good answer. Outage,
	// slowness and nonsense are told apart by the request or by the test's own
	// state; it is called concurrently.
	Behave func(Request) Behavior
}

// Server is a running provider. It is also the handler, for use under another
// server.
type Server struct {
	// URL is the base URL for a client, ending in /v1.
	URL string

	opts   Options
	server *httptest.Server
	closed chan struct{}
	once   sync.Once

	mu       sync.Mutex
	behave   func(Request) Behavior
	requests []Request
}

// New starts a server on a free port of the loopback interface.
func New(o Options) *Server {
	if o.Reply == nil {
		o.Reply = func(r Request) string { return "echo: " + r.LastUser() }
	}
	if o.Behave == nil {
		o.Behave = func(Request) Behavior { return Behavior{} }
	}
	s := &Server{opts: o, behave: o.Behave, closed: make(chan struct{})}
	s.server = httptest.NewServer(s)
	s.URL = s.server.URL + "/v1"
	return s
}

// Close lets go of every held request and waits for their handlers.
func (s *Server) Close() {
	s.once.Do(func() { close(s.closed) })
	s.server.Close()
}

// Behave replaces the behavior, so that an outage can begin and end.
func (s *Server) Behave(f func(Request) Behavior) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behave = f
}

// Requests are the well-formed requests so far, in order of arrival.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// ServeHTTP answers POST .../chat/completions.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req, status, complaint := s.read(r)
	if complaint != "" {
		refuse(w, status, complaint)
		return
	}
	s.mu.Lock()
	s.requests = append(s.requests, req)
	behave := s.behave
	s.mu.Unlock()
	b := behave(req)
	if !s.wait(r, req, b) {
		return
	}
	for name, value := range b.Header {
		w.Header().Set(name, value)
	}
	s.act(&exchange{w: w, r: r, req: req, b: b})
}

func (s *Server) read(r *http.Request) (req Request, status int, complaint string) {
	body, err := io.ReadAll(r.Body)
	switch {
	case err != nil:
		return req, http.StatusBadRequest, "unreadable body"
	case r.Method != http.MethodPost:
		return req, http.StatusMethodNotAllowed, "method " + r.Method
	case !strings.HasSuffix(r.URL.Path, "/chat/completions"):
		return req, http.StatusNotFound, "path " + r.URL.Path
	case s.opts.Key != "" && r.Header.Get("Authorization") != "Bearer "+s.opts.Key:
		return req, http.StatusUnauthorized, "Incorrect API key provided: " + r.Header.Get("Authorization")
	case !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json"):
		return req, http.StatusUnsupportedMediaType, "content type " + r.Header.Get("Content-Type")
	}
	if err := json.Unmarshal(body, &req); err != nil {
		return req, http.StatusBadRequest, err.Error()
	}
	req.URL, req.Header = r.URL.String(), maps.Clone(r.Header)
	return req, http.StatusBadRequest, req.fault()
}

// fault says what OpenAI would not accept about the request.
func (r Request) fault() string {
	if r.Model == "" || len(r.Messages) == 0 {
		return "model and messages are required"
	}
	for i, m := range r.Messages {
		if !slices.Contains([]string{"system", "user", "assistant"}, m.Role) {
			return fmt.Sprintf("messages.%d: role %q", i, m.Role)
		}
	}
	return ""
}

// wait holds a request at its gate and for its latency. It reports false when
// the client left or the server closes.
func (s *Server) wait(r *http.Request, req Request, b Behavior) bool {
	if b.Gate != nil {
		select {
		case b.Gate.entered <- req:
		case <-r.Context().Done():
			return false
		case <-s.closed:
			return false
		}
		if !until(s, r, b.Gate.open) {
			return false
		}
	}
	if b.Latency <= 0 {
		return true
	}
	timer := time.NewTimer(b.Latency)
	defer timer.Stop()
	return until(s, r, timer.C)
}

func until[T any](s *Server, r *http.Request, c <-chan T) bool {
	select {
	case <-c:
		return true
	case <-r.Context().Done():
	case <-s.closed:
	}
	return false
}

func refuse(w http.ResponseWriter, status int, complaint string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":{"message":%s,"type":"invalid_request_error","param":null,"code":null}}`, quote(complaint))
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(b)
}
