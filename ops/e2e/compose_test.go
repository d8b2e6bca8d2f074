package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// What docker-compose.yml says works as it says it: the services start in order,
// become healthy by their own checks, answer, stop in time, and go on with their
// volumes.
func TestCompose(t *testing.T) {
	t.Parallel() // it waits more than it works
	e := newEngine(t)
	defer func() {
		if t.Failed() {
			e.dump()
		}
	}()
	e.start()
	e.showsNoSecret()
	ingress := e.running["ingress"][0]
	token, err := ingress.exec("/moltbot", "token", "-u", "ada", "-d", "1")
	if err != nil {
		t.Fatal(err)
	}
	token = strings.TrimSpace(token)
	e.ask(token, "My name is Ada.", "")
	for _, command := range [][]string{{"status"}, {"workers"}, {"scale", "chat=8"}, {"task", "list"}} {
		if out, err := ingress.exec(append([]string{"/moltbot"}, command...)...); err != nil {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
	if out, err := ingress.exec("/moltbot", "workers", "--json"); err != nil || strings.Count(out, `"slots":`) < 2 {
		t.Errorf("not two workers: %v\n%s", err, out)
	}
	keys := e.keys()
	e.stop()
	for _, name := range []string{"prepare", "keys"} { // they have ended, and run again with the next start
		delete(e.running, name)
	}

	e.start()
	if !bytes.Equal(keys, e.keys()) {
		t.Error("the second start made other keys")
	}
	e.ask(token, "What is my name?", "My name is Ada.")
	e.stop()
}

func (e *engine) start() {
	e.t.Helper()
	e.up("ingress", 1)
	e.up("workers", 2)
	e.up("scheduler", 2)
	for _, name := range []string{"ingress", "workers", "scheduler"} {
		for _, c := range e.running[name] {
			eventually(e.t, time.Minute, c.name+" is healthy", c.healthy)
		}
	}
}

func (e *engine) stop() {
	e.t.Helper()
	for _, name := range []string{"ingress", "workers", "scheduler", "redis", "nats"} {
		e.down(name, 0)
	}
}

// ask sends a message of one session; the answer must hold what it shows to know.
func (e *engine) ask(token, text, known string) {
	e.t.Helper()
	body := fmt.Sprintf(`{"message":%q,"session_id":"first"}`, text)
	address := "http://" + local(e.running["ingress"][0].ports["18789"]) + "/api/chat"
	req, err := http.NewRequestWithContext(e.t.Context(), http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		e.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(answer), `"status":"done"`) || !strings.Contains(string(answer), known) {
		e.t.Fatalf("%q: %s, %v: %s", text, res.Status, err, answer)
	}
}

// showsNoSecret looks at what other users of the machine, or "docker inspect", would see.
func (e *engine) showsNoSecret() {
	e.t.Helper()
	var secrets []string
	for _, name := range []string{"nats_password", "redis_password"} {
		secrets = append(secrets, strings.TrimSpace(e.secret(name)))
	}
	holds := func(text string) bool {
		return slices.ContainsFunc(secrets, func(s string) bool { return strings.Contains(text, s) })
	}
	for name, all := range e.running {
		for _, c := range all {
			for _, of := range []string{"cmdline", "environ"} {
				seen, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", c.cmd.Process.Pid, of))
				if os.IsNotExist(err) {
					continue // it has ended, or this is no Linux
				}
				if err != nil {
					e.t.Fatal(err)
				}
				if holds(string(seen)) {
					e.t.Errorf("%s: a secret is in its %s", name, of)
				}
			}
			if holds(c.tail()) {
				e.t.Errorf("%s: a secret is in its log", name)
			}
		}
	}
}

// keys are the key files, one behind the other.
func (e *engine) keys() []byte {
	e.t.Helper()
	files, err := filepath.Glob(filepath.Join(e.dir, "volumes/keys/keys/*"))
	if err != nil || len(files) != 3 {
		e.t.Fatalf("key files %v, %v", files, err)
	}
	var all []byte
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			e.t.Fatal(err)
		}
		all = append(all, content...)
	}
	return all
}

func (e *engine) dump() {
	for _, all := range e.running {
		for _, c := range all {
			e.t.Logf("--- %s\n%s", c.name, c.tail())
		}
	}
}
