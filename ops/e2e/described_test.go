package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"moltbot/ops/apidoc"
)

// Of each operation and status the first exchanges are compared, and of the rest
// one in so many: a comparison takes as long as a whole request does.
const (
	compareFirst = 20
	compareEvery = 200
)

// described compares what a client sends and gets with the API's description.
// It passes everything on as it is, and remembers what does not agree.
type described struct {
	next   http.RoundTripper
	router routers.Router

	mu     sync.Mutex
	seen   map[string]int   // exchanges by operation and status
	errors map[string]error // by operation and status; the first of each
}

// describe puts the comparison before next. What disagreed fails the test at its end.
func describe(t *testing.T, next http.RoundTripper) *described {
	t.Helper()
	text, err := apidoc.Document()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		t.Fatal(err)
	}
	doc.Servers = nil // of any address
	for _, path := range doc.Paths.Map() {
		path.Servers = nil
	}
	d := &described{next: next, seen: map[string]int{}, errors: map[string]error{}}
	if d.router, err = gorillamux.NewRouter(doc); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		for exchange, err := range d.errors {
			t.Errorf("%s is not as it is described: %v", exchange, err)
		}
	})
	return d
}

// RoundTrip is that of next.
func (d *described) RoundTrip(req *http.Request) (*http.Response, error) {
	var sent []byte
	if req.Body != nil {
		var err error
		if sent, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		_ = req.Body.Close()
		req.Body = io.NopCloser(bytes.NewReader(sent))
	}
	res, err := d.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		d.note(req, sent, res, nil)
		return res, nil // it is read while it is made
	}
	got, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	res.Body = io.NopCloser(bytes.NewReader(got))
	if err != nil {
		return nil, err
	}
	d.note(req, sent, res, got)
	return res, nil
}

func (d *described) note(req *http.Request, sent []byte, res *http.Response, got []byte) {
	asked := req.Clone(context.WithoutCancel(req.Context()))
	asked.URL = onePart(req.URL)
	asked.Body = io.NopCloser(bytes.NewReader(sent))
	route, params, err := d.router.FindRoute(asked)
	exchange := req.Method + " " + req.URL.Path
	switch {
	case err == nil:
		exchange = fmt.Sprintf("%s %d", route.Operation.OperationID, res.StatusCode)
	case res.StatusCode == http.StatusNotFound, res.StatusCode == http.StatusMethodNotAllowed:
		return
	}
	d.mu.Lock()
	d.seen[exchange]++
	n := d.seen[exchange]
	d.mu.Unlock()
	if n > compareFirst && n%compareEvery != 0 {
		return
	}
	if err == nil {
		err = compare(&openapi3filter.RequestValidationInput{Request: asked, PathParams: params, Route: route}, res, got)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil && d.errors[exchange] == nil {
		d.errors[exchange] = err
	}
}

// compare says what disagrees with the description. A request that the server
// refused need not be as described; its answer must be.
func compare(in *openapi3filter.RequestValidationInput, res *http.Response, got []byte) (err error) {
	in.Options = &openapi3filter.Options{
		AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, ExcludeResponseBody: got == nil,
	}
	if res.StatusCode < http.StatusBadRequest {
		err = openapi3filter.ValidateRequest(in.Request.Context(), in)
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: res.StatusCode, Header: res.Header, Options: in.Options}
	out.SetBodyBytes(got)
	return errors.Join(err, openapi3filter.ValidateResponse(in.Request.Context(), out))
}

// onePart makes a route such as zh/support one part of the path, as the document
// has it: a parameter of a path holds no slash.
func onePart(u *url.URL) *url.URL {
	v := *u
	if rest, ok := strings.CutPrefix(v.Path, "/api/chat/"); ok {
		v.Path = "/api/chat/" + strings.ReplaceAll(rest, "/", "-")
		v.RawPath = ""
	}
	return &v
}

// A check that cannot fail would be none.
func TestWhatIsNotDescribedIsSeen(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter){
		"as described":     func(w http.ResponseWriter) { write(w, 200, `{"id":"x","status":"done"}`) },
		"another status":   func(w http.ResponseWriter) { write(w, 418, `{}`) },
		"a wrong type":     func(w http.ResponseWriter) { write(w, 200, `{"id":7,"status":"done"}`) },
		"a member missing": func(w http.ResponseWriter) { write(w, 200, `{"status":"done"}`) },
		"a wrong value":    func(w http.ResponseWriter) { write(w, 200, `{"id":"x","status":"maybe"}`) },
	} {
		t.Run(name, func(t *testing.T) {
			d := describe(t, roundTrip(func(*http.Request) *http.Response {
				w := httptest.NewRecorder()
				answer(w)
				return w.Result()
			}))
			req, err := http.NewRequest(http.MethodPost, "http://h/api/chat", strings.NewReader(`{"message":"hi"}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			if _, err := d.RoundTrip(req); err != nil {
				t.Fatal(err)
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			if (len(d.errors) == 0) != (name == "as described") {
				t.Errorf("errors %v", d.errors)
			}
			clear(d.errors)
		})
	}
}

type roundTrip func(*http.Request) *http.Response

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

func write(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}
