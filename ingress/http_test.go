package ingress_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/ingress"
)

// raw sends bytes as they are over a connection of their own.
func (r *rig) raw(send string) (net.Conn, *bufio.Reader) {
	r.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(r.base, "http://"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patient)); err != nil {
		r.t.Fatal(err)
	}
	if _, err := io.WriteString(c, send); err != nil {
		r.t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

func readResponse(t *testing.T, b *bufio.Reader) response {
	t.Helper()
	res, err := http.ReadResponse(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{res.StatusCode, res.Header, string(body), res.Close}
}

// closed checks that the server ends the connection, before the test's deadline.
func closed(t *testing.T, b *bufio.Reader) {
	t.Helper()
	if _, err := io.Copy(io.Discard, b); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection stays open")
	}
}

const unfinished = " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"

func TestSlowBody(t *testing.T) {
	r := newRig(t, func(o *ingress.Options) { o.HeaderTimeout, o.ReadTimeout = 30*time.Millisecond, 20*time.Millisecond })
	_, b := r.raw("POST /api/chat" + unfinished + "\r\n{")
	res := readResponse(t, b)
	problem(t, res, contracts.CodeBodyTimeout)
	closed(t, b)
}

// A body that nobody reads must not hold its connection for ever either.
func TestSlowBodyOfARefusal(t *testing.T) {
	r := newRig(t, func(o *ingress.Options) { o.HeaderTimeout, o.ReadTimeout = 30*time.Millisecond, 20*time.Millisecond })
	for head, status := range map[string]int{
		"POST /api/health" + unfinished: 200, "GET /api/chat/x" + unfinished: 401, "POST /nothing" + unfinished: 404, "PUT /api/chat" + unfinished: 405,
		"POST /api/chat" + strings.Replace(unfinished, "json", "xml", 1):                                  415,
		"POST /api/chat" + unfinished + "Authorization: Basic eA==\r\n":                                   401,
		"POST /api/chat" + strings.Replace(unfinished, "Content-Length: 100", "Content-Length: 70000", 1): 413,
	} {
		_, b := r.raw(head + "\r\n{")
		if res := readResponse(t, b); res.status != status {
			t.Errorf("%.30q: %d %s", head, res.status, res.body)
		}
		closed(t, b)
	}
}

// The limit is the body's: a request that waits longer for its answer gets it.
func TestBodyLimitIsNotTheWait(t *testing.T) {
	r := newRig(t, func(o *ingress.Options) { o.HeaderTimeout, o.ReadTimeout = 300*time.Millisecond, 20*time.Millisecond })
	looked := make(chan struct{}, 10)
	r.store.onResult = func(context.Context) { looked <- struct{}{} }
	open := make(chan struct{})
	r.work(held(t, open))
	answer := r.later(http.MethodPost, "/api/chat", say("hi"))
	await(t, "a look at the store, which comes after a second", looked)
	close(open)
	if res := await(t, "answer", answer); res.status != 200 {
		t.Errorf("%d %s", res.status, res.body)
	}
}

func TestSlowHeader(t *testing.T) {
	r := newRig(t, func(o *ingress.Options) { o.HeaderTimeout = 50 * time.Millisecond })
	_, b := r.raw("POST /api/chat HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	closed(t, b)
}

func TestHeaderLimits(t *testing.T) {
	r := newRig(t)
	for name, extra := range map[string]string{
		"many": strings.Repeat("X-A: b\r\n", 10_000), "one": "X-A: " + strings.Repeat("b", 1<<20) + "\r\n",
	} {
		c, err := net.Dial("tcp", strings.TrimPrefix(r.base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(patient))
		// The server hangs up in mid-write; only what it says counts.
		go func() { _, _ = io.WriteString(c, "GET /livez HTTP/1.1\r\nHost: x\r\n"+extra+"\r\n") }()
		line, _ := bufio.NewReader(c).ReadString('\n')
		if !strings.Contains(line, " 431 ") {
			t.Errorf("%s: %q", name, line)
		}
		_ = c.Close()
	}
}

func TestMethods(t *testing.T) {
	r := newRig(t)
	for _, method := range []string{"TRACE", "PUT", "PATCH", "GET", "PROPFIND"} {
		res := r.call(method, "/api/chat", "", "X-HTTP-Method-Override: POST")
		problem(t, res, contracts.CodeMethod)
		if allow := res.header.Get("Allow"); !strings.Contains(allow, "POST") {
			t.Errorf("%s: Allow %q", method, allow)
		}
	}
	if res := r.call(http.MethodHead, "/api/chat/x", ""); res.status != 405 || res.body != "" {
		t.Errorf("HEAD: %d %q", res.status, res.body)
	}
	res := r.call(http.MethodOptions, "/api/chat", "", "Origin: https://evil.example", "Access-Control-Request-Method: POST")
	for name := range res.header {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("preflight: %s", name)
		}
	}
}

// A path is what routes.go says, letter by letter, or nothing.
func TestPaths(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{
		"/", "/api", "/api/", "//api/chat", "/api//chat", "/api/chat/", "/API/chat", "/api/./chat", "/x/../api/chat", "/api/chat;a=b", "/api%2fchat",
		"/api/%2e%2e/api/chat", "/api\\chat", "/api/chat%00", "/api/health/", "/livez/", "/.git/config", "/admin/status", "/canary-CANARY",
	} {
		for _, method := range []string{http.MethodPost, http.MethodGet} {
			_, b := r.raw(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
				method, path, ann, len(say("hi")), say("hi")))
			res := readResponse(t, b)
			if res.status == 405 {
				problem(t, res, contracts.CodeMethod)
				continue
			}
			problem(t, res, contracts.CodeNotFound)
		}
	}
	if n := r.stored(); n != 0 {
		t.Errorf("%d messages got in", n)
	}
}

// Nothing a client sends as its request id comes back or reaches the log.
func TestRequestIDIsOurs(t *testing.T) {
	r := newRig(t)
	a, b := r.get("/livez", "X-Request-Id: CANARY"), r.get("/livez", "X-Request-Id: CANARY")
	if id := a.header.Get("X-Request-Id"); id == "" || id == "CANARY" || id == b.header.Get("X-Request-Id") {
		t.Errorf("request id %q", id)
	}
}
