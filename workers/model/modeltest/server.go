// Package modeltest is a provider for tests that speaks OpenAI's protocol and
// Anthropic's: it records what it is asked, answers plain or streamed as asked,
// and misbehaves on request.
// However long it holds a request, it never outlives the client's patience or
// its own Close.
package modeltest

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Message is one message of a recorded prompt. Its content is what there is of
// text in it.
type Message struct {
	Role    string
	Content string
	// Images are those in it as URLs, a line for each.
	Images string
}

// UnmarshalJSON takes a text, or a list of parts.
func (m *Message) UnmarshalJSON(b []byte) error {
	var wire struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	}
	if err := json.Unmarshal(b, &wire); err != nil {
		return err
	}
	m.Role = wire.Role
	if len(wire.Content) == 0 || wire.Content[0] != '[' {
		return json.Unmarshal(orNull(wire.Content), &m.Content)
	}
	var parts []struct {
		Text  string `json:"text"`
		Image *struct {
			URL string `json:"url"`
		} `json:"image_url"`
		Source *struct {
			Type string `json:"media_type"`
			Data string `json:"data"`
			URL  string `json:"url"`
		} `json:"source"`
	}
	err := json.Unmarshal(wire.Content, &parts)
	for _, p := range parts {
		m.Content += p.Text
		switch {
		case p.Image != nil:
			m.Images += p.Image.URL + "\n"
		case p.Source != nil && p.Source.URL != "":
			m.Images += p.Source.URL + "\n"
		case p.Source != nil:
			m.Images += "data:" + p.Source.Type + ";base64," + p.Source.Data + "\n"
		}
	}
	return err
}

func orNull(b json.RawMessage) json.RawMessage {
	if len(b) == 0 {
		return json.RawMessage("null")
	}
	return b
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

	// URL is the path and query it came to; Header and Body are the request's, and
	// Key is its API key.
	URL    string      `json:"-"`
	Header http.Header `json:"-"`
	Body   string      `json:"-"`
	Key    string      `json:"-"`
}

// length is about how many tokens the prompt has.
func (r Request) length() (n int) {
	for _, m := range r.Messages {
		n += utf8.RuneCountInString(m.Content)
	}
	return n
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
	// Key must come: as the bearer token, or in Anthropic's header. Default: none
	// is checked.
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
	open     map[string]int // requests that are being answered, by their last user message
}

// New starts a server on a free port of the loopback interface.
func New(o Options) *Server {
	if o.Reply == nil {
		o.Reply = func(r Request) string { return "echo: " + r.LastUser() }
	}
	if o.Behave == nil {
		o.Behave = func(Request) Behavior { return Behavior{} }
	}
	s := &Server{opts: o, behave: o.Behave, closed: make(chan struct{}), open: make(map[string]int)}
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

// Open counts the requests with this last user message whose client still waits.
func (s *Server) Open(lastUser string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[lastUser]
}

func (s *Server) left(req Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[req.LastUser()]--
}

// ServeHTTP answers POST .../chat/completions and POST .../messages.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	speak := openAI()
	if strings.HasSuffix(r.URL.Path, anthropicPath) {
		speak = anthropic()
	}
	req, status, complaint := s.read(r)
	if complaint != "" {
		refuse(w, speak, status, complaint)
		return
	}
	s.mu.Lock()
	s.requests = append(s.requests, req)
	s.open[req.LastUser()]++
	behave := s.behave
	s.mu.Unlock()
	defer s.left(req)
	b := behave(req)
	if !s.wait(r, req, b) {
		return
	}
	for name, value := range b.Header {
		w.Header().Set(name, value)
	}
	s.act(&exchange{w: w, r: r, req: req, b: b, dialect: speak})
}

func (s *Server) read(r *http.Request) (req Request, status int, complaint string) {
	body, err := io.ReadAll(r.Body)
	messages := strings.HasSuffix(r.URL.Path, anthropicPath)
	req.Key = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if messages {
		req.Key = r.Header.Get("X-Api-Key")
	}
	switch {
	case err != nil:
		return req, http.StatusBadRequest, "unreadable body"
	case r.Method != http.MethodPost:
		return req, http.StatusMethodNotAllowed, "method " + r.Method
	case !messages && !strings.HasSuffix(r.URL.Path, "/chat/completions"):
		return req, http.StatusNotFound, "path " + r.URL.Path
	case s.opts.Key != "" && req.Key != s.opts.Key:
		return req, http.StatusUnauthorized, "Incorrect API key provided: " + req.Key
	case !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json"):
		return req, http.StatusUnsupportedMediaType, "content type " + r.Header.Get("Content-Type")
	}
	if err := json.Unmarshal(body, &req); err != nil {
		return req, http.StatusBadRequest, err.Error()
	}
	req.URL, req.Header, req.Body = r.URL.String(), maps.Clone(r.Header), string(body)
	if messages {
		return req, http.StatusBadRequest, anthropicFault(r, body)
	}
	return req, http.StatusBadRequest, req.fault()
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

func refuse(w http.ResponseWriter, d dialect, status int, complaint string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, d.failure(errorType(status), complaint))
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(b)
}
