package app

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"moltbot/ops/config"
)

const (
	syncing   = `{"server_id":"x","jetstream":{"config":{"max_memory":1,"sync_always":true}}}`
	lazy      = `{"server_id":"x","jetstream":{"config":{"max_memory":1}}}`
	withoutJS = `{"server_id":"x","jetstream":{}}`
)

// monitor plays the monitoring port of a NATS server. Its address holds a secret.
func monitor(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /varz", h)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return strings.Replace(s.URL, "http://", "http://user:"+canary+"@", 1)
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, body)
	}
}

// watched is a configuration that needs the proof.
func watched(monitors ...string) config.Config {
	c := config.Default()
	c.NATS.URL, c.NATS.MonitorURL = "nats://127.0.0.1:1", strings.Join(monitors, ",")
	return c
}

func TestSyncIsProven(t *testing.T) {
	good := monitor(t, says(200, syncing))
	must(t, checkSync(t.Context(), watched(good)))
	must(t, checkSync(t.Context(), watched(good+"/", " "+good)))
}

func TestSyncIsRefused(t *testing.T) {
	good, bad := monitor(t, says(200, syncing)), monitor(t, says(200, lazy))
	u, err := url.Parse(bad)
	must(t, err)
	for name, c := range map[string]struct {
		conf config.Config
		want string
	}{
		"absent":     {watched(bad), u.Host + " acknowledges before it syncs"},
		"false":      {watched(monitor(t, says(200, strings.Replace(syncing, "true", "false", 1)))), "sync_interval: always"},
		"no stream":  {watched(monitor(t, says(200, withoutJS))), "JetStream is not enabled"},
		"one of two": {watched(good, bad), u.Host},
		"no monitor": {watched(), "nats.monitor_url"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, checkSync(t.Context(), c.conf), c.want) })
	}
}

func TestSyncIsAskedAgain(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	for name, c := range map[string]struct{ address, want string }{
		"garbage":           {monitor(t, says(200, "<html>")), "cannot be read"},
		"failing":           {monitor(t, says(500, "no")), "500"},
		"failing with JSON": {monitor(t, says(503, "{}")), "503"},
		"lying":             {monitor(t, says(500, syncing)), "500"},
		"not there":         {strings.Replace(gone.URL, "//", "//user:"+canary+"@", 1), "refused"},
		"secret as a name":  {strings.Replace(gone.URL, "//", "//"+canary+"@", 1), "refused"},
		"secret in the way": {gone.URL + "/" + canary, "refused"},
		"cut off":           {monitor(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), "EOF"},
		"not a URL":         {"http://user:" + canary + "@host:port", "not an http address"},
	} {
		t.Run(name, func(t *testing.T) { waits(t, checkSync(t.Context(), watched(c.address)), c.want, "whether it syncs") })
	}
}

func TestSyncDoesNotHang(t *testing.T) {
	done := make(chan struct{})
	address := monitor(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-done:
		}
	})
	t.Cleanup(func() { close(done) }) // before the server is closed
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	waits(t, checkSync(ctx, watched(address)), "deadline exceeded")
}

func TestSyncNeedsNoProof(t *testing.T) {
	asked := monitor(t, func(http.ResponseWriter, *http.Request) { t.Error("asked for a proof") })
	for name, change := range map[string]func(*config.Config){
		"allowed":       func(c *config.Config) { c.NATS.AllowUnprovenSync = true },
		"durability os": func(c *config.Config) { c.Durability = "os" },
		"our own NATS":  func(c *config.Config) { c.NATS.URL = "" },
	} {
		t.Run(name, func(t *testing.T) {
			c := watched(asked)
			change(&c)
			must(t, checkSync(t.Context(), c))
		})
	}
}

// The real server says it as we read it.
func TestSyncOfARealServer(t *testing.T) {
	ask := func(t *testing.T, o server.Options) error {
		t.Helper()
		o.DontListen, o.NoSigs, o.NoLog, o.HTTPHost, o.HTTPPort = true, true, true, "127.0.0.1", -1
		o.StoreDir, o.DisableJetStreamBanner = t.TempDir(), true
		s := startServer(t, &o)
		return checkSync(t.Context(), watched("http://"+s.MonitorAddr().String()))
	}
	must(t, ask(t, server.Options{JetStream: true, SyncAlways: true}))
	refused(t, ask(t, server.Options{JetStream: true}), "acknowledges before it syncs")
	refused(t, ask(t, server.Options{}), "JetStream is not enabled")
}

func startServer(t *testing.T, o *server.Options) *server.Server {
	t.Helper()
	s, err := server.NewServer(o)
	must(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("nats-server is not ready")
	}
	return s
}
