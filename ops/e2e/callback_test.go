package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"moltbot/contracts"
)

// hooks is a receiver of callbacks. What it answers stands in the URL, in its order
// of tries: /500,200 refuses first.
type hooks struct {
	*httptest.Server
	mu     sync.Mutex
	got    map[string][]hook // by path
	inside int               // calls of what redirects lead to
}

type hook struct {
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	Secrets []string          `json:"secrets"`
	Wrong   []string          `json:"wrong"`
}

func receiveHooks(t *testing.T, address string) *hooks {
	t.Helper()
	h := &hooks{got: map[string][]hook{}}
	h.Server = httptest.NewUnstartedServer(http.HandlerFunc(h.serve))
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("no %s here: %v", address, err)
	}
	h.Listener.Close()
	h.Listener = l
	h.Start()
	t.Cleanup(h.Close)
	return h
}

func (h *hooks) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/inside" {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.inside++
		return
	}
	body, _ := io.ReadAll(r.Body)
	got := hook{Headers: map[string]string{}, Body: string(body)}
	for name := range r.Header {
		got.Headers[strings.ToLower(name)] = r.Header.Get(name)
	}
	h.mu.Lock()
	h.got[r.URL.Path] = append(h.got[r.URL.Path], got)
	n := len(h.got[r.URL.Path])
	h.mu.Unlock()
	answers := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), ",")
	var status int
	_, _ = fmt.Sscan(answers[min(n, len(answers))-1], &status)
	if status == 0 { // reset
		conn, _, _ := w.(http.Hijacker).Hijack()
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
		return
	}
	w.Header().Set("Location", h.URL+"/inside")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "<html>garbage")
}

func (h *hooks) all(path string) []hook {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]hook(nil), h.got[path]...)
}

// callback is a client that has answers sent to it.
type callbackClient struct {
	t    *testing.T
	base string
	http *http.Client
}

func (c *callbackClient) call(method, path, token string, body any) (status int, header http.Header, answer []byte) {
	c.t.Helper()
	b, _ := json.Marshal(body)
	if body == nil {
		b = nil
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, bytes.NewReader(b))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := c.http.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if answer, err = io.ReadAll(res.Body); err != nil {
		c.t.Fatal(err)
	}
	return res.StatusCode, res.Header, answer
}

// ask sends a message whose answer goes to url, and gives its id.
func (c *callbackClient) ask(token, text, url string) string {
	c.t.Helper()
	status, header, b := c.call(http.MethodPost, "/api/chat", token, contracts.ChatRequest{Message: text, CallbackURL: url})
	var reply contracts.ChatReply
	if err := json.Unmarshal(b, &reply); err != nil || status != http.StatusAccepted || header.Get("Location") != "/api/chat/"+reply.ID {
		c.t.Fatalf("%s: %d %s", url, status, b)
	}
	return reply.ID
}

// delivery is what GET tells of the way out, in a reply or in a problem.
func (c *callbackClient) delivery(token, id string) (d contracts.Delivery) {
	c.t.Helper()
	_, _, b := c.call(http.MethodGet, "/api/chat/"+id, token, nil)
	var told struct{ Delivery *contracts.Delivery }
	if err := json.Unmarshal(b, &told); err != nil {
		c.t.Fatalf("%v in %s", err, b)
	}
	if told.Delivery != nil {
		d = *told.Delivery
	}
	return d
}

func tries(d contracts.Delivery) string {
	var all []string
	for _, a := range d.Attempts {
		all = append(all, strings.TrimSuffix(a.Outcome+" "+a.Detail, " "))
	}
	return d.Status + ": " + strings.Join(all, ", ")
}

// TestCallbacks has answers sent to a receiver that is not always well, with the
// whole program killed between two tries. What arrives is verified by the official
// npm package.
func TestCallbacks(t *testing.T) {
	t.Parallel() // it waits more than it works
	dir := clientForJS(t, "webhook_verify.mjs")
	h, outside := receiveHooks(t, "127.0.0.1:0"), receiveHooks(t, "[::1]:0")
	a := startAlone(t, "MOLTBOT_CALLBACK_HOSTS=tester="+h.URL+",tester="+outside.URL, "MOLTBOT_DELIVER_ALLOW_NETWORKS=127.0.0.0/8",
		"MOLTBOT_QUEUE_LEASE=3s", "MOLTBOT_QUEUE_ACK_WAIT=3s", "MOLTBOT_QUEUE_BEAT=1s")
	c := &callbackClient{t: t, base: a.base, http: &http.Client{Transport: describe(t, http.DefaultTransport)}}

	for url, want := range map[string]int{h.URL + "/200": 403, "https://elsewhere.example/": 403, "not a url": 400} {
		token := a.token
		if want == 403 && strings.HasPrefix(url, h.URL) {
			token = a.few // who may not call anybody
		}
		if status, _, b := c.call(http.MethodPost, "/api/chat", token, contracts.ChatRequest{Message: "x", CallbackURL: url}); status != want {
			t.Errorf("%s: %d %s, want %d", url, status, b, want)
		}
	}

	sent := map[string]string{ // path to how its delivery ends
		"/200":     "sent: sent",
		"/500,204": "sent: pending 500, sent",
		"/0,201":   "sent: pending broken, sent",
		"/302,202": "sent: pending 302, sent",
		"/410":     "failed: failed 410",
	}
	ids := map[string]string{}
	for path := range sent {
		ids[path] = c.ask(a.token, "hello "+path, h.URL+path)
	}
	refused := c.ask(a.token, "hello", outside.URL+"/200")
	failing := c.ask(a.token, "refuse", h.URL+"/299")
	// A try that is not written down yet would be made again.
	eventually(t, 20*time.Second, "the first tries, written down", func() bool {
		for _, id := range append(slices.Collect(maps.Values(ids)), refused, failing) {
			if len(c.delivery(a.token, id).Attempts) == 0 {
				return false
			}
		}
		return true
	})
	// The first retry is due after 5 seconds; by then another process is there.
	a.up.crash()
	eventually(t, 30*time.Second, "up is ready again", func() bool {
		res, err := http.Get(a.base + "/readyz")
		if err != nil {
			return false
		}
		defer func() { _ = res.Body.Close() }()
		return res.StatusCode == http.StatusOK
	})
	for path, want := range sent {
		var last string
		ok := func() bool { last = tries(c.delivery(a.token, ids[path])); return last == want }
		eventuallyOr(t, 40*time.Second, ok, func() { t.Errorf("%s: %s, want %s", path, last, want) })
	}
	eventuallyOr(t, 20*time.Second, func() bool { return tries(c.delivery(a.token, refused)) == "failed: failed refused_address" },
		func() { t.Errorf("a network that is not allowed: %s", tries(c.delivery(a.token, refused))) })
	if len(outside.all("/200")) != 0 || h.inside != 0 {
		t.Errorf("%d calls of a network that is not allowed, %d followed redirects", len(outside.all("/200")), h.inside)
	}
	if len(h.all("/410")) != 1 {
		t.Errorf("a receiver that is gone was called %d times", len(h.all("/410")))
	}
	verifyHooks(t, a, dir, h, ids, failing)
	if n := a.up.lines("whsec_"); n != 0 {
		t.Errorf("%d log lines hold a secret", n)
	}
}

// verifyHooks checks what arrived, also with the official verifier.
func verifyHooks(t *testing.T, a *alone, dir string, h *hooks, ids map[string]string, failing string) {
	t.Helper()
	secret := func(args ...string) string {
		out, err := exec.Command(a.bin, append([]string{"callback", "secret", "--data-dir", a.data, "-u"}, args...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	good, wrong := []string{secret("tester"), secret("tester", "--next")}, []string{secret("few")}
	var lines bytes.Buffer
	n := 0
	ids["/299"] = failing
	for path, id := range ids {
		for _, got := range h.all(path) {
			var event struct {
				Type string
				Data struct{ ID, Reply, Code string }
			}
			if err := json.Unmarshal([]byte(got.Body), &event); err != nil {
				t.Fatal(err)
			}
			if got.Body != h.all(path)[0].Body || got.Headers["webhook-id"] != contracts.CallbackID(id) || event.Data.ID != id {
				t.Errorf("%s: %v %s", path, got.Headers, got.Body)
			}
			if path == "/299" && (event.Type != contracts.EventFailed || event.Data.Code == "") ||
				path != "/299" && (event.Type != contracts.EventCompleted || event.Data.Reply != "echo: hello "+path) {
				t.Errorf("%s: %s", path, got.Body)
			}
			got.Secrets, got.Wrong = good, wrong
			_ = json.NewEncoder(&lines).Encode(got)
			n += len(good)
		}
	}
	file := filepath.Join(dir, "callbacks")
	if err := os.WriteFile(file, lines.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	node := exec.CommandContext(ctx, "node", "webhook_verify.mjs", file)
	node.Dir = dir
	out, err := node.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != fmt.Sprintf("verified %d", n) {
		t.Errorf("%v\n%s", err, out)
	}
}

// eventuallyOr polls until ok, and says otherwise what is wrong.
func eventuallyOr(t *testing.T, within time.Duration, ok func() bool, otherwise func()) {
	t.Helper()
	over := time.NewTimer(within)
	defer over.Stop()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for !ok() {
		select {
		case <-again.C:
		case <-over.C:
			otherwise()
			return
		}
	}
}
