package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"moltbot/contracts"
)

// up starts everything on dir and returns once it has said how to use it.
func up(t *testing.T, dir string, more ...string) *running {
	t.Helper()
	r := background(t, append([]string{"up", "--data-dir", dir, "--listen", "127.0.0.1:0", "--log-format", "json"}, more...)...)
	if !r.out.await("\ncurl ") || !r.out.await("'\n\n") {
		t.Fatalf("it ended before it was ready\n%s", r.log)
	}
	return r
}

var (
	curlLine  = regexp.MustCompile(`(?m)^curl -sS (http://\S+) -H "([^:"]+): ([^"]+)" -d '([^']+)'$`)
	tokenLine = regexp.MustCompile(`(?m)^token .*:\n(\S+)$`)
)

// request is the printed curl line, taken apart.
type request struct{ url, header, value, body string }

func printed(t *testing.T, r *running) request {
	t.Helper()
	m := curlLine.FindStringSubmatch(r.out.String())
	if m == nil {
		t.Fatalf("no curl line in:\n%s", r.out)
	}
	return request{m[1], m[2], m[3], m[4]}
}

func (q request) send(t *testing.T) contracts.ChatReply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, q.url, bytes.NewBufferString(q.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(q.header, q.value)
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v", res.Status, body, err)
	}
	var reply contracts.ChatReply
	if err := json.Unmarshal(body, &reply); err != nil {
		t.Fatal(err)
	}
	return reply
}

// saying gives the same request with another message.
func (q request) saying(t *testing.T, message string) request {
	t.Helper()
	var body contracts.ChatRequest
	if err := json.Unmarshal([]byte(q.body), &body); err != nil {
		t.Fatal(err)
	}
	body.Message = message
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	q.body = string(b)
	return q
}

// realRedis names the server on PATH. Without one the test is skipped, which CI
// counts as a failure.
func realRedis(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"valkey-server", "redis-server"} {
		if _, err := exec.LookPath(name); err == nil {
			return name
		}
	}
	t.Skip("neither valkey-server nor redis-server on PATH")
	return ""
}

// stores runs a test with a real Redis and with the stand-in.
func stores(t *testing.T, test func(t *testing.T, kind string)) {
	t.Run("server", func(t *testing.T) { test(t, realRedis(t)+" ") })
	t.Run("stand-in", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		test(t, "embedded stand-in")
	})
}

func TestUp(t *testing.T) {
	stores(t, func(t *testing.T, kind string) {
		dir := t.TempDir()
		r := up(t, dir)
		contains(t, r.out.String(), "is ready on http://127.0.0.1:", dir, "store  "+kind, "demo model")
		if standIn := strings.Contains(r.out.String(), "a kill can cost"); standIn != (kind == "embedded stand-in") {
			t.Errorf("the warning about the stand-in is wrong:\n%s", r.out)
		}
		q := printed(t, r)
		token := tokenLine.FindStringSubmatch(r.out.String())
		if token == nil || !strings.Contains(q.body, token[1]) {
			t.Errorf("the curl line does not carry the token:\n%s", r.out)
		}
		reply := q.send(t)
		contains(t, reply.Reply, `"hello"`, "the first message")
		if reply.SessionID != "first" || reply.Status != contracts.StatusDone {
			t.Errorf("the answer is %+v", reply)
		}

		contains(t, must(t, "status", "--data-dir", dir), "roles ingress+workers", "store    "+kind, "0 waiting", "metrics  http://127.0.0.1:", "nats     ok", "redis    ok")
		contains(t, fails(t, exitFailure, "up", "--data-dir", dir, "--listen", "127.0.0.1:0"), "is in use by process", "--data-dir")
		q.saying(t, canary).send(t) // the first one is not harmed, and what people write stays out of the log
		r.stop(t)

		if _, err := os.Stat(filepath.Join(dir, "admin.json")); err == nil {
			t.Error("admin.json is left behind")
		}
		for _, secret := range []string{canary, token[1]} {
			if strings.Contains(r.log.String(), secret) {
				t.Errorf("the log holds %q", secret)
			}
		}

		again := up(t, dir)
		now := printed(t, again)
		reply = now.saying(t, "and again").send(t)
		contains(t, reply.Reply, `"and again"`, "4 messages", `your first was "hello"`, canary)
		q.url = now.url
		q.send(t) // the old token is still good
		again.stop(t)
	})
}

func TestUpJSONStatusAndTokenThroughTheProcess(t *testing.T) {
	dir, keys := t.TempDir(), filepath.Join(t.TempDir(), "keys")
	file := configFile(t, "keys_dir: "+keys+"\n")
	r := up(t, dir, "-c", file)

	// Without the configuration the command does not know where the keys are, and asks.
	c := verify(t, keys, must(t, "token", "-u", "carol", "-d", "3", "--scope", "admin", "--data-dir", dir))
	if c.User != "carol" || !c.Can("admin") || c.Can("chat") || days(c) != 3 {
		t.Errorf("claims are %+v", c)
	}
	contains(t, fails(t, exitFailure, "token", "-u", "carol", "-d", "4000", "--data-dir", dir), "bad_request")

	var s contracts.AdminStatus
	if err := json.Unmarshal([]byte(must(t, "status", "--json", "--data-dir", dir)), &s); err != nil {
		t.Fatal(err)
	}
	if s.Slots != 64 || s.Queue.Dead != 0 || s.Checks["nats"] != "ok" || s.Version == "" {
		t.Errorf("status is %+v", s)
	}
	r.stop(t)
}

func TestUpRefusals(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	for _, c := range []struct{ args, want string }{
		{"--listen " + taken.Addr().String(), "is another program there"},
		{"--listen nowhere", "listen: must be host:port"},
		{"--durability maybe", "durability: must be fsync or os"},
		{"--rate-limit fast", "http.rate_limit: must be"},
		{"--log-level loud", "log.level: must be"},
	} {
		args := append([]string{"up", "--data-dir", t.TempDir()}, strings.Fields(c.args)...)
		contains(t, fails(t, exitFailure, args...), c.want)
	}
}

// Data of a real Redis is not passed over silently when the Redis is gone.
func TestUpRefusesToForget(t *testing.T) {
	realRedis(t)
	dir := t.TempDir()
	r := up(t, dir)
	printed(t, r).send(t)
	r.stop(t)
	t.Setenv("PATH", t.TempDir())
	contains(t, fails(t, exitFailure, "up", "--data-dir", dir, "--listen", "127.0.0.1:0"), "holds the data of a redis-server")
}
