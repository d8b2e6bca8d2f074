package app

import (
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"moltbot/contracts"
	"moltbot/ops/config"
	"moltbot/ops/embedded"
	"moltbot/ops/keyring"
)

var both = Roles()

// up makes an App that brings its own parts, with the stand-in for Redis.
func up(t *testing.T, c config.Config) (*App, *book, error) {
	t.Helper()
	lines := &book{}
	a, err := New(t.Context(), Options{Config: c, Roles: both, Embedded: true, PathLookup: noServer, Log: lines.log(), Version: "v0"})
	return a, lines, err
}

// running is an App between Run and its end.
type running struct {
	*App
	cancel context.CancelFunc
	ended  chan error
}

func run(t *testing.T, a *App) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{App: a, cancel: cancel, ended: make(chan error, 1)}
	done := make(chan struct{})
	go func() {
		r.ended <- a.Run(ctx)
		close(done)
	}()
	t.Cleanup(func() { cancel(); await(t, "the end", done) })
	return r
}

func (r *running) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	if err := await(t, "the end of Run", r.ended); err != nil {
		t.Errorf("Run = %v", err)
	}
}

// get asks without leaving a connection open.
func get(t *testing.T, address, token string, into any) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	must(t, err)
	req.Close = true
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer func() { _ = res.Body.Close() }() // read only
	body, err := io.ReadAll(res.Body)
	must(t, err)
	if into != nil {
		must(t, json.Unmarshal(body, into))
	}
	return res.StatusCode
}

// noLeak returns a check that no goroutine is left of what is started after it.
func noLeak(t *testing.T) func() {
	t.Helper()
	before := goleak.IgnoreCurrent()
	return func() {
		t.Helper()
		// Warm ends by itself, and can take longer than goleak looks.
		if err := goleak.Find(before, goleak.IgnoreAnyFunction("moltbot/workers/prompt.(*Builder).Warm")); err != nil {
			t.Error(err)
		}
	}
}

// unlocked expects the data directory to be free.
func unlocked(t *testing.T, dir string) {
	t.Helper()
	lock, err := embedded.Lock(dir)
	if err != nil {
		t.Errorf("the data directory is still taken: %v", err)
		return
	}
	must(t, lock.Unlock())
}

func noAdminFile(t *testing.T, dir string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, AdminFile+"*"))
	must(t, err)
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func closed(t *testing.T, address string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err == nil {
		_ = c.Close()
		t.Errorf("something still listens on %s", address)
	}
}

func TestAppFromStartToEnd(t *testing.T) {
	for name, lookup := range map[string]func(string) (string, error){"stand-in": noServer, "server": exec.LookPath} {
		t.Run(name, func(t *testing.T) {
			if name == "server" {
				startRedis(t) // decides whether there is one
			}
			fromStartToEnd(t, lookup)
		})
	}
}

func fromStartToEnd(t *testing.T, lookup func(string) (string, error)) {
	leaks := noLeak(t)
	c := settings(t)
	a, err := New(t.Context(), Options{Config: c, Roles: both, Embedded: true, PathLookup: lookup, Version: "v0"})
	must(t, err)
	select {
	case <-a.Ready():
		t.Error("ready before Run")
	default:
	}
	r := run(t, a)
	await(t, "ready", r.Ready())

	var state contracts.Ready
	equal(t, "readyz", get(t, "http://"+a.Address()+"/readyz", "", &state), http.StatusOK)
	for _, check := range []string{"nats", "redis", "start"} {
		equal(t, "check of "+check, state.Checks[check], "ok")
	}
	adminIsPrivate(t, c.DataDir)

	if _, _, err := up(t, c); err == nil {
		t.Fatal("a second App runs on the same directory")
	} else {
		hasText(t, err.Error(), "data directory", "in use")
	}
	adminIsPrivate(t, c.DataDir) // the refused one left it alone

	address, admin := a.Address(), strings.TrimPrefix(a.admin.URL, "http://")
	r.stop(t)
	noAdminFile(t, c.DataDir)
	closed(t, address)
	closed(t, admin)
	unlocked(t, c.DataDir)
	leaks()
}

// adminIsPrivate expects the admin file to be its owner's alone, and good.
func adminIsPrivate(t *testing.T, dir string) {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, AdminFile))
	must(t, err)
	equal(t, "mode of "+AdminFile, info.Mode(), 0o600)
	access, err := ReadAdmin(dir)
	must(t, err)
	var s contracts.AdminStatus
	equal(t, "status", get(t, access.URL+"/admin/status", access.Token, &s), http.StatusOK)
	equal(t, "version", s.Version, "v0")
	equal(t, "check of nats", s.Checks["nats"], "ok")
	equal(t, "status with another token", get(t, access.URL+"/admin/status", access.Token+"x", nil), http.StatusUnauthorized)
}

func TestQueueIsRepaired(t *testing.T) {
	a, _, err := up(t, settings(t))
	must(t, err)
	must(t, a.repair(t.Context())) // not prepared: nothing to do
	if _, err := a.topology.js.Stream(t.Context(), contracts.StreamChat); err == nil {
		t.Error("repair ran before prepare")
	}
	r := run(t, a)
	await(t, "ready", r.Ready())
	must(t, a.topology.js.DeleteStream(t.Context(), contracts.StreamChat))
	must(t, a.repair(t.Context()))
	_, err = a.topology.js.Consumer(t.Context(), contracts.StreamChat, contracts.ConsumerChat)
	must(t, err)
	r.stop(t)
}

// A process that is stopped before it was ever ready ends well.
func TestStopBeforeReady(t *testing.T) {
	leaks := noLeak(t)
	c := settings(t)
	a, _, err := up(t, c)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, a.Run(ctx))
	noAdminFile(t, c.DataDir)
	unlocked(t, c.DataDir)
	leaks()
}

func TestLateFailureClosesEverything(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = taken.Close() })
	for name, c := range map[string]struct {
		change func(*config.Config)
		want   string
	}{
		"public port": {func(c *config.Config) { c.Listen = taken.Addr().String() }, "is another program there"},
		"admin port":  {func(c *config.Config) { c.AdminListen = taken.Addr().String() }, "admin API"},
		"rate":        {func(c *config.Config) { c.HTTP.RateLimit = "fast" }, "rate limit"},
		"proxies":     {func(c *config.Config) { c.HTTP.TrustedProxies = []string{"x"} }, "http.trusted_proxies"},
	} {
		t.Run(name, func(t *testing.T) {
			leaks := noLeak(t)
			conf := settings(t)
			conf.Listen = "127.0.0.1:" + strconv.Itoa(freePort(t))
			own := conf.Listen
			c.change(&conf)
			a, _, err := up(t, conf)
			if err == nil || a != nil {
				t.Fatalf("New = %v, %v", a, err)
			}
			hasText(t, err.Error(), "ingress: ", c.want)
			closed(t, own)
			noAdminFile(t, conf.DataDir)
			unlocked(t, conf.DataDir)
			leaks()
		})
	}
}

func TestRefusalEndsRun(t *testing.T) {
	leaks := noLeak(t)
	c := settings(t)
	n, err := embedded.StartNATS(embedded.NATSOptions{StoreDir: filepath.Join(c.DataDir, "nats")})
	must(t, err)
	nc, err := n.Connect()
	must(t, err)
	js, err := jetstream.New(nc)
	must(t, err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: contracts.StreamChat, Subjects: []string{contracts.SubjectsChat}, Retention: jetstream.WorkQueuePolicy,
	})
	must(t, err)
	nc.Close()
	must(t, n.Shutdown(t.Context()))

	a, _, err := up(t, c)
	must(t, err)
	r := run(t, a)
	err = await(t, "the end of Run", r.ended)
	refused(t, err, "prepare: stream CHAT", "WorkQueue", "drain it and delete it")
	select {
	case <-a.Ready():
		t.Error("ready in spite of the refusal")
	default:
	}
	noAdminFile(t, c.DataDir)
	unlocked(t, c.DataDir)
	leaks()
}

// outside is a configuration whose parts others run.
func outside(t *testing.T, nats, redis string) config.Config {
	t.Helper()
	c := settings(t)
	must(t, keyring.Init(KeysDir(c)))
	c.NATS.URL, c.Redis.URL = nats, redis
	return c
}

func serve(t *testing.T, c config.Config) (*App, *book, error) {
	t.Helper()
	lines := &book{}
	a, err := New(t.Context(), Options{Config: c, Roles: both, Log: lines.log()})
	return a, lines, err
}

func TestServeNamesWhatIsMissing(t *testing.T) {
	for want, c := range map[string]config.Config{
		"redis.url is not set": outside(t, "nats://127.0.0.1:1", ""),
		"nats.url is not set":  outside(t, "", "redis://127.0.0.1:1"),
		"keys":                 func() config.Config { c := settings(t); c.KeysDir = t.TempDir(); return c }(),
		"redis.url":            outside(t, "nats://127.0.0.1:1", "redis://user:"+canary+"@host:port"),
		"nats.url":             outside(t, "nats://user:"+canary+"@host:port", "redis://127.0.0.1:1"),
	} {
		t.Run(want, func(t *testing.T) {
			a, _, err := serve(t, c)
			if err == nil {
				_ = a.close()
				t.Fatal("it starts")
			}
			hasText(t, err.Error(), want)
		})
	}
}

func TestServeWaitsForItsDependencies(t *testing.T) {
	redis := startRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	leaks := noLeak(t)
	port := freePort(t)
	asked := make(chan struct{}, 1000)
	var answer atomic.Pointer[http.HandlerFunc]
	script := func(h http.HandlerFunc) { answer.Store(&h) }
	script(says(503, "starting"))
	watch := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		(*answer.Load())(w, r)
		asked <- struct{}{}
	}))
	defer watch.Close()
	tries := func(n int) {
		t.Helper()
		for range n {
			await(t, "another try", asked)
		}
	}
	c := outside(t, "nats://127.0.0.1:"+strconv.Itoa(port), redis)
	c.Durability, c.NATS.MonitorURL = "fsync", watch.URL
	a, lines, err := serve(t, c)
	must(t, err)
	r := run(t, a)
	tries(3)
	script(says(200, syncing))
	tries(3)
	var state contracts.Ready
	equal(t, "readyz", get(t, "http://"+a.Address()+"/readyz", "", &state), http.StatusServiceUnavailable)
	equal(t, "check of nats", state.Checks["nats"], "not connected")
	hasText(t, state.Checks["start"], "waiting for the queue")
	equal(t, "check of redis", state.Checks["redis"], "ok")

	s := startServer(t, &server.Options{Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir()})
	await(t, "ready", r.Ready())
	eventually(t, "readyz is ok", func() bool { return get(t, "http://"+a.Address()+"/readyz", "", nil) == http.StatusOK })
	reasons := lines.errorsOf(t, "waiting for a dependency")
	if len(reasons) < 2 || len(reasons) > 3 || len(slices.Compact(slices.Clone(reasons))) != len(reasons) {
		t.Fatalf("reasons are %q, want one line for each", reasons)
	}
	hasText(t, reasons[0], "whether it syncs", "503")
	hasText(t, reasons[1], "stream CHAT")
	r.stop(t)
	noAdminFile(t, c.DataDir)
	s.Shutdown()
	s.WaitForShutdown()
	watch.Close()
	leaks()
}

// freePort is one that nobody listens on now, below the range from which the
// system gives ports to outgoing connections.
func freePort(t *testing.T) int {
	t.Helper()
	for {
		port := 15_000 + rand.N(15_000)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			must(t, l.Close())
			return port
		}
	}
}
