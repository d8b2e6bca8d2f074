package delivertest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/workers/deliver"
)

// Reset drops the connection of a request that was read.
func Reset(w http.ResponseWriter, _ *http.Request) {
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		return // not a server of HTTP/1.1
	}
	c, _, err := hijacker.Hijack()
	if err != nil {
		return
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// Send sends an answer of one part.
func Send(t testing.TB, s deliver.Sender, a *contracts.Answer) (string, error) {
	t.Helper()
	parts := s.Parts(a)
	if len(parts) != 1 {
		t.Fatalf("%d parts", len(parts))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return s.Send(ctx, a, parts[0])
}

// Failure gives the failure that err is.
func Failure(t testing.TB, err error) *deliver.Failure {
	t.Helper()
	var f *deliver.Failure
	if !errors.As(err, &f) {
		t.Fatalf("%v is no failure", err)
	}
	return f
}
