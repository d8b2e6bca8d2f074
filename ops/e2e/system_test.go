package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"moltbot/workers/model/modeltest"
)

// shape is what a test wants to stand.
type shape struct {
	workers  int
	nats     int               // 1 or 3 servers
	settings string            // more lines of config.yaml
	model    *modeltest.Server // nil: the demo model
	env      map[string]string // of the workers
}

// system is moltbot as separate processes.
type system struct {
	t       *testing.T
	dir     string
	base    string // URL of the API
	token   string
	bin     string
	config  string
	ingress *process
	workers []*process
	extra   []*process // that a test started by itself
	nats    []*process
	redis   *process // nil: the stand-in, which runs in this process
	rdb     *redis.Client
	natsURL string
}

// build starts everything and waits until it is ready. All waits are shortened,
// so that what takes minutes in production takes seconds here.
func build(t *testing.T, s shape) *system {
	t.Helper()
	bin, natsBin := programs(t)
	y := &system{t: t, dir: t.TempDir(), bin: bin}
	redisURL := y.startRedis()
	monitors := y.startNATS(natsBin, max(1, s.nats))
	y.writeConfig(s, redisURL, monitors)
	y.run("key", "init")
	port := freePort(t)
	y.base = "http://" + local(port)
	y.ingress = newProcess(t, y.dir, "ingress", bin, "--config", y.config, "serve", "ingress", "--listen", local(port))
	y.ingress.start()
	for i := range s.workers {
		w := newProcess(t, y.dir, fmt.Sprintf("worker%d", i), bin, "--config", y.config, "serve", "workers")
		for k, v := range s.env {
			w.env = append(w.env, k+"="+v)
		}
		w.start()
		y.workers = append(y.workers, w)
	}
	y.token = strings.TrimSpace(y.run("token", "-u", "tester", "-d", "1"))
	eventually(t, 30*time.Second, "ready", y.ready)
	return y
}

func (y *system) startRedis() string {
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		// Without a real server the stand-in serves: it outlives every role as
		// well, because it runs in the test.
		m := miniredis.RunT(y.t)
		y.t.Cleanup(tick(m))
		y.rdb = redis.NewClient(&redis.Options{Addr: m.Addr()})
		y.t.Cleanup(func() { _ = y.rdb.Close() })
		return "redis://" + m.Addr() + "/0"
	}
	port := freePort(y.t)
	dir := filepath.Join(y.dir, "redis")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		y.t.Fatal(err)
	}
	y.redis = newProcess(y.t, y.dir, "redis", bin, "--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--dir", dir,
		"--save", "", "--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")
	y.redis.start()
	y.rdb = redis.NewClient(&redis.Options{Addr: local(port)})
	y.t.Cleanup(func() { _ = y.rdb.Close() })
	eventually(y.t, 10*time.Second, "redis answers", func() bool { return y.rdb.Ping(context.Background()).Err() == nil })
	return "redis://" + local(port) + "/0"
}

// tick lets the stand-in's times to live run down, which they do not by
// themselves: a lease has to run out.
func tick(m *miniredis.Miniredis) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for last := time.Now(); ctx.Err() == nil; {
			wait(ctx, 50*time.Millisecond)
			now := time.Now()
			m.FastForward(now.Sub(last))
			last = now
		}
	})
	return func() { cancel(); wg.Wait() }
}

func (y *system) startNATS(bin string, n int) (monitors []string) {
	var routes, clients []string
	var ports [3][3]int
	for i := range n {
		ports[i] = [3]int{freePort(y.t), freePort(y.t), freePort(y.t)}
		routes = append(routes, fmt.Sprintf("nats://%s", local(ports[i][2])))
		clients = append(clients, fmt.Sprintf("nats://%s", local(ports[i][0])))
		monitors = append(monitors, "http://"+local(ports[i][1]))
	}
	y.natsURL = strings.Join(clients, ",")
	for i := range n {
		name := fmt.Sprintf("nats%d", i)
		conf := fmt.Sprintf("server_name: %s\nlisten: %s\nhttp: %s\njetstream { store_dir: %q, sync_interval: always }\n",
			name, local(ports[i][0]), local(ports[i][1]), filepath.Join(y.dir, name))
		if n > 1 {
			conf += fmt.Sprintf("cluster { name: c, listen: %s, routes: [%s] }\n", local(ports[i][2]), strings.Join(routes, ", "))
		}
		file := filepath.Join(y.dir, name+".conf")
		y.write(file, conf)
		p := newProcess(y.t, y.dir, name, bin, "-c", file)
		p.start()
		y.nats = append(y.nats, p)
	}
	return monitors
}

func (y *system) writeConfig(s shape, redisURL string, monitors []string) {
	y.config = filepath.Join(y.dir, "config.yaml")
	model := ""
	if s.model != nil {
		model = fmt.Sprintf("model: {model_provider: stand-in, endpoint: %q, api_key: test-key, timeout: 20s, first_token_timeout: 3s, idle_timeout: 3s}\n", s.model.URL)
	}
	y.write(y.config, fmt.Sprintf(`data_dir: %q
nats: {url: %q, monitor_url: %q, replicas: %d}
redis: {url: %q}
http: {rate_limit: "off"}
log: {level: debug, format: json}
metrics: {listen: "127.0.0.1:0"}
%s%s%s
`, filepath.Join(y.dir, "data"), y.natsURL, strings.Join(monitors, ","), max(1, s.nats), redisURL, session(s), model, queue(s)))
}

// session lets a window be limited by rounds alone, unless the test brings its own.
func session(s shape) string {
	if strings.Contains(s.settings, "session:") {
		return ""
	}
	return "session: {tokens: 100000}\n"
}

// queue is the shortened waits, unless the test brings its own.
func queue(s shape) string {
	if strings.Contains(s.settings, "queue:") {
		return s.settings
	}
	return "queue: {ack_wait: 3s, beat: 1s, lease: 1500ms, busy_delay: 200ms, retry_base: 100ms, retry_max: 1s}\n" + s.settings
}

func (y *system) write(path, text string) {
	y.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		y.t.Fatal(err)
	}
}

// run runs a moltbot command and gives its standard output.
func (y *system) run(args ...string) string {
	y.t.Helper()
	cmd := exec.Command(y.bin, append([]string{"--config", y.config}, args...)...)
	var errOut strings.Builder
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		y.t.Fatalf("moltbot %s: %v\n%s", strings.Join(args, " "), err, errOut.String())
	}
	return string(out)
}

func (y *system) ready() bool {
	res, err := http.Get(y.base + "/readyz")
	if err != nil {
		return false
	}
	defer func() { _ = res.Body.Close() }()
	return res.StatusCode == http.StatusOK
}

// stream looks at the queue itself, past the product.
func (y *system) stream() (jetstream.JetStream, func()) {
	y.t.Helper()
	nc, err := nats.Connect(y.natsURL)
	if err != nil {
		y.t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		y.t.Fatal(err)
	}
	return js, nc.Close
}

// dump shows the logs of a failed run.
func (y *system) dump() {
	for _, p := range append([]*process{y.ingress}, y.workers...) {
		y.t.Logf("--- %s\n%s", p.name, p.tail())
	}
}
