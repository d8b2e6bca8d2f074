package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/workers/model/modeltest"
)

// TestCanary writes a text that can be found again through every path, a summary,
// its task and the list of sessions among them, and then looks for it in everything
// that was written or sent away: the NATS store, Redis' files and keys, the logs at
// debug level, metrics, traces.
func TestCanary(t *testing.T) {
	t.Parallel() // it waits more than it works
	const canary = "CANARY7kQ2xWv9Zp"
	l := newLedger(t, 0)
	l.model.Behave(func(r modeltest.Request) modeltest.Behavior {
		switch {
		case strings.Contains(r.LastUser(), "refuse"):
			return modeltest.Behavior{Kind: modeltest.Status, Status: 400, Body: `{"error":{"message":"` + canary + `"}}`}
		case strings.Contains(r.LastUser(), "garbage"):
			return modeltest.Behavior{Kind: modeltest.Raw, Body: canary}
		}
		return modeltest.Behavior{Kind: modeltest.Raw, Body: `{"choices":[{"message":{"role":"assistant","content":"` + canary +
			`"},"finish_reason":"stop"}]}`, Header: map[string]string{"Content-Type": "application/json"}}
	})
	traces := collectTraces(t)
	y := build(t, shape{workers: 1, model: l.model, settings: "session: {system: " + canary + ", rounds: 2, summary: {after: 1}}\n" +
		"trace: {endpoint: \"" + traces.URL + "\", sample: 1}\n"})
	keeper := y.scheduler("scheduler0")
	c, ctx := y.client(), timeLimit(t)
	for _, text := range []string{"good", "good again", "refuse", "garbage"} {
		r, err := c.chat(ctx, "s", text+" "+canary, canary+text[:4], 50)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d %s", text, r.status, r.problem.Code)
		if text == "good" && !strings.Contains(r.reply.Reply, canary) {
			t.Fatalf("the model's canary did not arrive: %+v", r)
		}
	}
	for _, body := range []any{map[string]any{"message": canary, canary: 1}, map[string]any{"message": []string{canary}}, canary} {
		r, err := c.do(ctx, http.MethodPost, "/api/chat", "", body)
		if err != nil || r.status != http.StatusBadRequest {
			t.Fatalf("bad body: %d %v", r.status, err)
		}
	}
	if r, err := c.do(ctx, http.MethodGet, "/api/chat/"+canary+"?wait="+canary, "", nil); err != nil || r.status != http.StatusBadRequest {
		t.Fatalf("bad id: %d %v", r.status, err)
	}
	for n := range 4 { // until the first fall out of the prompt
		if r, err := c.chat(ctx, "s", fmt.Sprint("round ", n, " ", canary), "", 50); err != nil || r.status != http.StatusOK {
			t.Fatalf("round %d: %d %v", n, r.status, err)
		}
	}
	var s contracts.SessionDetail
	eventually(t, 30*time.Second, "a summary", func() bool {
		return c.get(ctx, "/api/sessions/s", &s) == nil && s.Summary != nil
	})
	var listed contracts.SessionPage
	if err := c.get(ctx, "/api/sessions", &listed); err != nil || len(listed.Sessions) != 1 || !strings.Contains(s.Summary.Text, canary) {
		t.Fatalf("sessions %+v, %v; summary %+v", listed, err, s.Summary)
	}
	if r, err := c.do(ctx, http.MethodGet, "/api/sessions/"+canary, "", nil); err != nil || r.status != http.StatusNotFound {
		t.Fatalf("a session that is not there: %d %v", r.status, err)
	}
	for _, p := range append(y.workers, y.ingress, keeper) {
		y.write(filepath.Join(y.dir, p.name+".metrics"), p.metrics())
		p.terminate() // with its last traces
	}
	y.write(filepath.Join(y.dir, "traces"), traces.sent())
	y.write(filepath.Join(y.dir, "redis.values"), y.values(ctx, "session", "summary", "about", "sessions", "asynq", "box", "result", "usage"))
	if y.redis != nil {
		if err := y.rdb.Save(ctx).Err(); err != nil {
			t.Fatal(err)
		}
	}
	secrets := map[string][]byte{"canary": []byte(canary), "token": []byte(y.token), "model key": []byte("test-key")}
	for i := range 3 { // the text as base64 would hold it, at each alignment
		b := base64.StdEncoding.EncodeToString(append(make([]byte, i), canary...))
		secrets["canary in base64"+strings.Repeat("'", i)] = []byte(b[4 : len(b)-4])
	}
	files, bytesSeen := y.search(t, secrets)
	t.Logf("%d files, %d bytes searched", files, bytesSeen)
	if files < 8 || bytesSeen < 10_000 {
		t.Error("too little was searched: the test looks in the wrong place")
	}
}

// traced is a collector of traces that keeps the bytes it is sent.
type traced struct {
	*httptest.Server
	mu  sync.Mutex
	got bytes.Buffer
}

func collectTraces(t *testing.T) *traced {
	c := &traced{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			body = z
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		_, _ = io.Copy(&c.got, body) // what was cut is sent again
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *traced) sent() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got.String()
}

var metricsReady = regexp.MustCompile(`"address":"([^"]+)"[^\n]*"metrics ready"`)

// metrics reads what a process shows at its metrics.listen.
func (p *process) metrics() string {
	p.t.Helper()
	log, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Fatal(err)
	}
	address := metricsReady.FindSubmatch(log)
	if address == nil {
		p.t.Fatalf("%s does not say where its metrics are", p.name)
	}
	res, err := http.Get("http://" + string(address[1]) + "/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil || !bytes.Contains(text, []byte("moltbot_")) {
		p.t.Fatalf("metrics of %s: %v: %s", p.name, err, text)
	}
	return string(text)
}

// values are all keys of Redis with what is under them, as Redis gives it. Its
// files hold long values compressed. There must be keys of all kinds that want names.
func (y *system) values(ctx context.Context, want ...string) string {
	y.t.Helper()
	var all strings.Builder
	seen := map[string]int{}
	for _, key := range y.rdb.Keys(ctx, "*").Val() {
		name, _, _ := strings.Cut(key, ":")
		seen[name]++
		fmt.Fprintln(&all, key)
		switch y.rdb.Type(ctx, key).Val() {
		case "string":
			fmt.Fprintln(&all, y.rdb.Get(ctx, key).Val())
		case "hash":
			fmt.Fprintln(&all, y.rdb.HGetAll(ctx, key).Val())
		case "list":
			fmt.Fprintln(&all, y.rdb.LRange(ctx, key, 0, -1).Val())
		case "set":
			fmt.Fprintln(&all, y.rdb.SMembers(ctx, key).Val())
		case "zset":
			fmt.Fprintln(&all, y.rdb.ZRange(ctx, key, 0, -1).Val())
		}
	}
	for _, name := range want {
		if seen[name] == 0 {
			y.t.Errorf("there is no key %s: in Redis are %v", name, seen)
		}
	}
	return all.String()
}

// search fails the test for every file, except those that are to hold them, in
// which one of the secrets stands.
func (y *system) search(t *testing.T, secrets map[string][]byte) (files, size int) {
	t.Helper()
	err := filepath.WalkDir(y.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path == y.config {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files, size = files+1, size+len(b)
		for name, s := range secrets {
			if i := bytes.Index(b, s); i >= 0 {
				t.Errorf("%s stands in %s: %q", name, path, b[max(0, i-100):min(len(b), i+100)])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, size
}
