package egress_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"moltbot/workers/deliver/egress"
)

// post gives whether the call worked and whether it may have arrived.
func post(t *testing.T, client *http.Client, url string) (err error, may bool) {
	t.Helper()
	var written egress.Written
	req, err := http.NewRequestWithContext(written.Follow(context.Background()), http.MethodPost, url, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	return err, written.May()
}

func TestWhatIsKnownOfARequestThatFailed(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	reset := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, _ := w.(http.Hijacker).Hijack()
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}))
	defer reset.Close()
	hang := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-hang }))
	defer silent.Close()
	defer close(hang)
	for name, c := range map[string]struct {
		url string
		may bool
	}{
		"nobody listens": {closed.URL, false}, "reset after it was read": {reset.URL, true}, "no answer": {silent.URL, true},
	} {
		client := egress.New(egress.Options{Allow: loopback, Response: 100 * time.Millisecond})
		if err, may := post(t, client, c.url); err == nil || may != c.may {
			t.Errorf("%s: %v, may have arrived: %v", name, err, may)
		}
		client.CloseIdleConnections()
	}
}

// Once the other side has gone nothing leaves; a request that met the connection
// while it closed may have arrived.
func TestClosedConnectionIsDoubtOnlyWhileItCloses(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	client := egress.New(egress.Options{Allow: loopback})
	defer client.CloseIdleConnections()
	if err, may := post(t, client, server.URL); err != nil || !may {
		t.Fatalf("%v, %v", err, may)
	}
	server.Close() // with it the idle connection
	for range 2 {
		err, may := post(t, client, server.URL)
		if refused := errors.Is(err, syscall.ECONNREFUSED); err == nil || may == refused {
			t.Errorf("%v, may have arrived: %v", err, may)
		}
	}
}
