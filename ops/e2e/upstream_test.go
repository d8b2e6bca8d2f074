package e2e

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"moltbot/workers/model/modeltest"
)

// upstream is a provider that can be killed and revived at its address. It
// answers with its own name and the model that it was asked for.
type upstream struct {
	t     *testing.T
	name  string
	port  int
	model *modeltest.Server

	mu      sync.Mutex
	server  *http.Server
	outages []outage
}

// outage ends at zero while it lasts.
type outage struct{ from, to time.Time }

func newUpstream(t *testing.T, name string, latency time.Duration) *upstream {
	u := &upstream{t: t, name: name, port: freePort(t)}
	u.model = modeltest.New(modeltest.Options{
		Key:    "test-key",
		Reply:  func(r modeltest.Request) string { return name + "/" + r.Model },
		Behave: func(modeltest.Request) modeltest.Behavior { return modeltest.Behavior{Latency: latency} },
	})
	t.Cleanup(u.model.Close)
	u.revive()
	t.Cleanup(u.kill)
	return u
}

// kill ends the provider with all its connections.
func (u *upstream) kill() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.server == nil {
		return
	}
	u.outages = append(u.outages, outage{from: time.Now()})
	_ = u.server.Close() // what runs is to fail
	u.server = nil
}

func (u *upstream) revive() {
	u.mu.Lock()
	defer u.mu.Unlock()
	l, err := net.Listen("tcp", local(u.port))
	if err != nil {
		u.t.Fatal(err)
	}
	u.server = &http.Server{Handler: u.model, ReadHeaderTimeout: 5 * time.Second}
	go func(s *http.Server) { _ = s.Serve(l) }(u.server) // it ends by kill
	if n := len(u.outages); n > 0 {
		u.outages[n-1].to = time.Now()
	}
}

// down reports whether a call between from and to may have been spared the
// provider: while it was killed, and for as long as a breaker may stay open after.
func (u *upstream) down(from, to time.Time, breaker time.Duration) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, o := range u.outages {
		if to.After(o.from) && (o.to.IsZero() || from.Before(o.to.Add(breaker))) {
			return true
		}
	}
	return false
}

// entry names the provider in a model file.
func (u *upstream) entry() string {
	return fmt.Sprintf("  %s: {endpoint: \"http://%s/v1\", api_key: test-key, timeout: 20s, first_token_timeout: 3s, idle_timeout: 3s}\n", u.name, local(u.port))
}

// providerOf is the first part of a model version.
func providerOf(version string) string {
	name, _, _ := strings.Cut(version, "/")
	return name
}
