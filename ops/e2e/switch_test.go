package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
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

// breakerOpen is how long a provider that is back may still be left alone: until
// its breaker tries again, and the call that tries is over.
const breakerOpen = 8 * time.Second

// The models of this test and who answers for each: fast and slow fall back to spare.
func switchedFile(ups []*upstream, preferred string, salt int) string {
	text := "providers:\n"
	for _, u := range ups {
		text += u.entry()
	}
	return text + fmt.Sprintf(`models:
  fast: {provider: one, model: a, fallback: [spare], max_tokens: %d}
  slow: {provider: two, model: b, fallback: [spare]}
  spare: {provider: three, model: c}
model_routing: {default: %s}
`, 1000+salt, preferred)
}

// versions are the answers of the models.
func versions() map[string]string {
	return map[string]string{"fast": "one/a", "slow": "two/b", "spare": "three/c"}
}

// epoch is the time for which a model was the default: from when the change was
// asked for, and, for sure, from when it was reported as applied.
type epoch struct {
	model            string
	revision         int64
	asked, confirmed time.Time
}

// history is the list of switches, oldest first.
type history struct {
	mu     sync.Mutex
	epochs []epoch
}

func (h *history) ask(model string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.epochs = append(h.epochs, epoch{model: model, asked: time.Now()})
}

func (h *history) confirm(revision int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := &h.epochs[len(h.epochs)-1]
	e.confirmed, e.revision = time.Now(), revision
}

// allowed are the defaults that a request may have met: the one in force when it
// was sent, and those that were asked for before its answer came.
func (h *history) allowed(sent, answered time.Time) (models []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, e := range h.epochs {
		over := i+1 < len(h.epochs) && !h.epochs[i+1].confirmed.IsZero() && h.epochs[i+1].confirmed.Before(sent)
		if e.asked.Before(answered) && !over {
			models = append(models, e.model)
		}
	}
	return models
}

// paced sends requests at a rate, whatever the answers take, and judges each.
type paced struct {
	y    *system
	ups  map[string]*upstream
	past *history

	mu       sync.Mutex
	answers  map[string]int // by model version
	failures []string
	slowest  time.Duration
}

func (p *paced) run(ctx context.Context, rate int) (sent int) {
	var wg sync.WaitGroup
	defer wg.Wait()
	c := p.y.client()
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return sent
		case <-tick.C:
		}
		n := sent
		sent++
		wg.Go(func() { p.one(c, n) })
	}
}

func (p *paced) one(c *client, n int) {
	began := time.Now()
	// A session of its own: a message must not wait for another one's answer. A text of its own: no cached one.
	r, err := c.chat(context.Background(), fmt.Sprintf("switch-%d", n), fmt.Sprintf("who are you? %d", n), "", 30)
	ended := time.Now()
	problem := ""
	switch {
	case err != nil:
		problem = err.Error()
	case r.status != http.StatusOK:
		problem = fmt.Sprintf("%d %s %s", r.status, r.problem.Code, r.problem.Detail)
	case r.reply.Reply != r.reply.ModelVersion:
		problem = fmt.Sprintf("%q answered as %s", r.reply.Reply, r.reply.ModelVersion)
	case r.reply.ModelTable < 1:
		problem = "no revision of the table"
	default:
		problem = p.wrong(r.reply.ModelVersion, began, ended)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers[r.reply.ModelVersion]++
	p.slowest = max(p.slowest, ended.Sub(began))
	if problem != "" {
		p.failures = append(p.failures, fmt.Sprintf("request %d, after %s: %s", n, ended.Sub(began), problem))
	}
}

// wrong says why this version must not have answered; empty if it may.
func (p *paced) wrong(version string, sent, answered time.Time) string {
	allowed := p.past.allowed(sent, answered)
	for _, model := range allowed {
		want := versions()[model]
		down := p.ups[providerOf(want)].down(sent, answered, breakerOpen)
		if version == want || down && version == versions()["spare"] {
			return ""
		}
	}
	return fmt.Sprintf("%s answered when it was the time of %v", version, allowed)
}

// switching is an operator who changes the default in every way there is.
type switching struct {
	t    *testing.T
	y    *system
	file string
	ups  []*upstream
	past *history
	data string // directory by which commands find the admin API, also while the file is broken
	url  string
	key  string
	http *http.Client // of the admin API
}

func (s *switching) admin(method, path string, body any, into any) int {
	s.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequest(method, s.url+path, bytes.NewReader(b))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.key)
	req.Header.Set("Content-Type", "application/json")
	res, err := s.http.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }() // read only
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		s.t.Fatalf("%s: %v", text, err)
	}
	return res.StatusCode
}

// change makes model the default, by the n-th way, and gives the time until all follow.
func (s *switching) change(n int, model string) time.Duration {
	s.t.Helper()
	s.past.ask(model)
	began := time.Now()
	var r contracts.ModelReply
	switch n % 3 {
	case 0:
		if err := json.Unmarshal([]byte(s.y.run("model", "use", model, "--json", "--data-dir", s.data)), &r); err != nil {
			s.t.Fatal(err)
		}
	case 1:
		if status := s.admin(http.MethodPut, "/admin/model", contracts.ModelRequest{Default: model}, &r); status != http.StatusOK {
			s.t.Fatalf("PUT: %d", status)
		}
	default:
		s.write(switchedFile(s.ups, model, n))
		r = s.whenImported(model)
	}
	if r.Default != model || r.Applied != len(s.y.workers) || r.Workers != len(s.y.workers) {
		s.t.Errorf("switch %d to %s: %+v", n, model, r)
	}
	s.past.confirm(r.Revision)
	return time.Since(began)
}

func (s *switching) write(text string) {
	s.t.Helper()
	s.y.write(s.file+".new", text)
	if err := os.Rename(s.file+".new", s.file); err != nil {
		s.t.Fatal(err)
	}
}

// whenImported waits until all workers have the table of the file.
func (s *switching) whenImported(model string) (r contracts.ModelReply) {
	eventually(s.t, 5*time.Second, "the file is imported", func() bool {
		var m contracts.AdminModel
		s.admin(http.MethodGet, "/admin/model", nil, &m)
		if m.Table == nil {
			return false
		}
		r = contracts.ModelReply{Revision: m.Revision, Default: m.Table.Default, Workers: len(m.Workers)}
		for _, w := range m.Workers {
			if w.Follows(m.Revision) {
				r.Applied++
			}
		}
		return r.Default == model && r.Applied == len(s.y.workers)
	})
	return r
}

// bad offers tables that must be refused everywhere, and leave everything as it is.
func (s *switching) bad() {
	s.t.Helper()
	var before, after contracts.AdminModel
	s.admin(http.MethodGet, "/admin/model", nil, &before)
	for _, r := range []contracts.ModelRequest{
		{Default: "none"},
		{Routes: &[]contracts.ModelRoute{{Pattern: "^(", Model: "fast"}}},
		{Table: &contracts.ModelTable{Default: "x", Models: map[string]contracts.ModelEntry{"x": {Provider: "nobody", Model: "m"}}}},
	} {
		var p contracts.Problem
		if status := s.admin(http.MethodPut, "/admin/model", r, &p); status != http.StatusBadRequest {
			s.t.Errorf("a bad table: %d %s", status, p.Detail)
		}
	}
	if out, err := exec.Command(s.y.bin, "--config", s.y.config, "model", "use", "none").CombinedOutput(); err == nil {
		s.t.Errorf("a model that there is not: %s", out)
	}
	whole := switchedFile(s.ups, "spare", 0)
	s.write(whole[:len(whole)-12])
	for _, w := range s.y.workers {
		eventually(s.t, 5*time.Second, "the file is refused", func() bool {
			return w.lines("the configuration of models is refused, the one before stays") > 0
		})
	}
	s.admin(http.MethodGet, "/admin/model", nil, &after)
	if after.Revision != before.Revision {
		s.t.Errorf("a bad table is revision %d", after.Revision)
	}
}

// TestHotSwitchUnderLoad changes models by command, API and file while requests
// come in, with bad tables in between and a provider that dies and comes back: no
// request fails, and none is answered by a model that was not meant.
func TestHotSwitchUnderLoad(t *testing.T) {
	ups := []*upstream{newUpstream(t, "one", 20*time.Millisecond), newUpstream(t, "two", 20*time.Millisecond), newUpstream(t, "three", 20*time.Millisecond)}
	file := filepath.Join(t.TempDir(), "models.yaml")
	past := &history{}
	past.ask("fast")
	if err := os.WriteFile(file, []byte(switchedFile(ups, "fast", 0)), 0o600); err != nil {
		t.Fatal(err)
	}
	y := build(t, shape{workers: 2, settings: fmt.Sprintf("model: {file: %q}\n", file)})
	s := &switching{t: t, y: y, file: file, ups: ups, past: past, data: filepath.Join(y.dir, "data")}
	s.http = &http.Client{Transport: describe(t, http.DefaultTransport)}
	var access struct{ URL, Token string }
	b, err := os.ReadFile(filepath.Join(s.data, "admin.json"))
	if err == nil {
		err = json.Unmarshal(b, &access)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.url, s.key = access.URL, access.Token
	past.confirm(s.whenImported("fast").Revision)

	p := &paced{y: y, past: past, answers: map[string]int{}, ups: map[string]*upstream{}}
	for _, u := range ups {
		p.ups[u.name] = u
	}
	ctx, stop := context.WithCancel(context.Background())
	sent := make(chan int, 1)
	go func() { sent <- p.run(ctx, size(100, 300)) }()
	switches, models := size(8, 20), []string{"slow", "fast"}
	var took []time.Duration
	for n := range switches {
		took = append(took, s.change(n, models[n%2]))
		switch n {
		case switches / 4:
			s.bad()
		case switches / 2: // the default's own
			p.ups[providerOf(versions()[models[n%2]])].kill()
		case switches/2 + 2:
			p.ups[providerOf(versions()[models[n%2]])].revive()
		}
		wait(ctx, size(300*time.Millisecond, 500*time.Millisecond))
	}
	stop()
	total := <-sent
	http.DefaultClient.CloseIdleConnections()
	slices.Sort(took)
	t.Logf("%d requests, %d switches, answers %v, slowest answer %s; a switch was followed by all within %s (median %s)",
		total, switches, p.answers, p.slowest, took[len(took)-1], took[len(took)/2])
	if len(p.failures) > 0 {
		y.dump()
		t.Errorf("%d requests failed or were answered wrongly:\n%s", len(p.failures), strings.Join(p.failures[:min(10, len(p.failures))], "\n"))
	}
	for model, version := range versions() {
		if p.answers[version] == 0 {
			t.Errorf("%s never answered", model)
		}
	}
}
