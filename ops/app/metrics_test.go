package app

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"moltbot/contracts"
	"moltbot/ops/config"
)

// ask sends a chat request and gives status and body.
func ask(t *testing.T, a *App, token string, body map[string]any, header ...string) (int, []byte) {
	t.Helper()
	return post(t, a, "/api/chat", token, body, header...)
}

func post(t *testing.T, a *App, path, token string, body map[string]any, header ...string) (int, []byte) {
	t.Helper()
	b, err := json.Marshal(body)
	must(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+a.Address()+path, bytes.NewReader(b))
	must(t, err)
	req.Close = true
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer func() { _ = res.Body.Close() }() // read only
	text, err := io.ReadAll(res.Body)
	must(t, err)
	return res.StatusCode, text
}

// scrape gives what a path of the metrics address says.
func scrape(t *testing.T, a *App, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+a.MetricsAddress()+path, nil)
	must(t, err)
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer func() { _ = res.Body.Close() }() // read only
	text, err := io.ReadAll(res.Body)
	must(t, err)
	return res.StatusCode, string(text)
}

var metricRow = regexp.MustCompile("(?m)^\\| `(moltbot_[a-z_]+)` \\| ([a-z]+) \\| ([^|]*)\\|")

// documentedMetrics gives "type label,label" of each metric in the table.
func documentedMetrics(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../docs/metrics.md")
	must(t, err)
	out := map[string]string{}
	for _, m := range metricRow.FindAllStringSubmatch(string(text), -1) {
		labels := strings.Split(strings.NewReplacer("`", "", " ", "").Replace(m[3]), ",")
		slices.Sort(labels)
		out[m[1]] = m[2] + " " + strings.Join(labels, ",")
	}
	return out
}

// shownMetrics gives the same of what a process shows.
func shownMetrics(t *testing.T, a *App) map[string]string {
	t.Helper()
	families, err := a.watch.registry.Gather()
	must(t, err)
	out := map[string]string{}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "moltbot_") {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		slices.Sort(labels)
		out[f.GetName()] = strings.ToLower(f.GetType().String()) + " " + strings.Join(labels, ",")
	}
	return out
}

// traffic sends what can be found again, through every way in.
func traffic(t *testing.T, a *App) (token string) {
	t.Helper()
	token, err := a.Token(canary+"-user", 1, "chat")
	must(t, err)
	good := map[string]any{"message": "hello " + canary, "session_id": canary, "model": "demo/" + canary}
	status, body := ask(t, a, token, good, "Idempotency-Key", canary)
	equal(t, "status", status, http.StatusOK)
	var reply contracts.ChatReply
	must(t, json.Unmarshal(body, &reply))
	status, _ = ask(t, a, token, good, "Idempotency-Key", canary)
	equal(t, "status of the repetition", status, http.StatusOK)
	status, _ = ask(t, a, token, map[string]any{"message": ""})
	equal(t, "status of an empty one", status, http.StatusBadRequest)
	status, _ = ask(t, a, token+canary, good)
	equal(t, "status without a token", status, http.StatusUnauthorized)
	equal(t, "status of the answer", get(t, "http://"+a.Address()+"/api/chat/"+reply.ID, token, nil), http.StatusOK)
	equal(t, "status of another path", get(t, "http://"+a.Address()+"/"+canary+"?"+canary, token, nil), http.StatusNotFound)
	return token
}

// anyModel is a demo that callers may call as they like.
func anyModel(limit int) config.Catalog {
	return config.Catalog{Default: "demo", Models: map[string]config.Entry{
		"demo":  {Provider: "demo", MaxTokens: 1024, MaxConcurrent: limit, AnyModel: true, Fallback: []string{"spare"}},
		"spare": {Provider: "demo", MaxTokens: 1024},
	}}
}

func TestMetrics(t *testing.T) {
	c := settings(t)
	c.Model.Catalog = anyModel(3)
	robot := config.DefaultDingTalk() // nobody is there: the process is ready all the same
	robot.ClientID, robot.ClientSecret, robot.Mode, robot.Endpoint = "ding1", canary+"-secret-of-the-robot", config.ModeStream, "http://127.0.0.1:1"
	c.DingTalk.Named = map[string]config.DingTalk{"robot": robot}
	a, lines, err := up(t, c)
	must(t, err)
	r := run(t, a)
	await(t, "ready", r.Ready())
	token := traffic(t, a)
	_, text := scrape(t, a, "/metrics")
	for _, secret := range []string{canary, token} {
		if i := strings.Index(text, secret); i >= 0 {
			t.Errorf("a secret is in the metrics: %s", text[max(0, i-100):i+20])
		}
	}
	for _, want := range []string{
		`moltbot_ingress_accepted_total{kind="new"} 1`, `moltbot_ingress_accepted_total{kind="repeated"} 1`,
		`moltbot_ingress_refused_total{code="bad_request"} 1`, `moltbot_ingress_refused_total{code="unauthorized"} 1`,
		`moltbot_http_request_duration_seconds_count{route="POST /api/chat",status="2xx"} 2`,
		`moltbot_http_request_duration_seconds_count{route="other",status="4xx"} 1`,
		`moltbot_workers_attempts_total 1`, `moltbot_model_request_duration_seconds_count{outcome="ok"} 1`,
		`moltbot_message_duration_seconds_count{outcome="answered"} 1`, `moltbot_workers_start_delay_seconds_count 1`,
		`moltbot_redis_command_duration_seconds_count{command="claim_key"} 2`, `moltbot_redis_errors_total{command="begin"} 0`,
		`moltbot_ingress_limit_requests_total{outcome="refused"} 0`, `moltbot_model_calls_waiting{model="demo/demo"} 0`, `moltbot_model_permit_failures_total{model="demo/demo"} 0`,
		`moltbot_model_calls_total{model="demo",outcome="ok"} 1`, `moltbot_model_breaker_state{provider="demo"} 0`,
		`moltbot_redis_errors_total{command="cap"} 0`, `moltbot_redis_errors_total{command="take"} 0`,
		`moltbot_queue_up 1`, `moltbot_nats_connected{connection="workers"} 1`, `moltbot_build_info{go_version=`,
		`moltbot_workers_slots_limit 64`, "process_open_fds", "go_goroutines",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("not shown: %s", want)
		}
	}
	for _, name := range []string{"begin", "commit", "take", "cap"} {
		if !regexp.MustCompile(`moltbot_redis_command_duration_seconds_count\{command="` + name + `"\} [1-9]`).MatchString(text) {
			t.Errorf("no %s was timed", name)
		}
	}
	if !regexp.MustCompile(`moltbot_ingress_limit_requests_total\{outcome="allowed"\} [1-9]`).MatchString(text) {
		t.Error("no request was counted against a limit")
	}
	problems, err := testutil.GatherAndLint(a.watch.registry)
	must(t, err)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	documented, shown := documentedMetrics(t), shownMetrics(t, a)
	for name, form := range shown {
		if documented[name] != form {
			t.Errorf("metrics.md says %q of %s, it is %q", documented[name], name, form)
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("metrics.md lists %s, which nothing shows", name)
	}
	var s contracts.AdminStatus
	equal(t, "status", get(t, a.admin.URL+"/admin/status", a.admin.Token, &s), http.StatusOK)
	equal(t, "address in the status", s.Metrics, a.MetricsAddress())
	if t.Failed() {
		t.Log(lines, text)
	}
	r.stop(t)
}

// A scrape must not hang, and probes must tell, when NATS is gone.
func TestMetricsWithoutNATS(t *testing.T) {
	leaks := noLeak(t)
	a, _, err := up(t, settings(t))
	must(t, err)
	r := run(t, a)
	await(t, "ready", r.Ready())
	eventually(t, "ready for messages", func() bool { code, _ := scrape(t, a, "/readyz"); return code == http.StatusOK })
	must(t, a.nats.Shutdown(t.Context()))
	eventually(t, "the queue is said to be down", func() bool {
		code, text := scrape(t, a, "/metrics")
		return code == http.StatusOK && strings.Contains(text, "moltbot_queue_up 0") && !strings.Contains(text, "moltbot_queue_lag") &&
			strings.Contains(text, `moltbot_nats_connected{connection="ingress"} 0`)
	})
	eventually(t, "it is not ready", func() bool {
		code, text := scrape(t, a, "/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(text, `"nats":"not connected"`)
	})
	code, _ := scrape(t, a, "/livez")
	equal(t, "livez", code, http.StatusOK)
	r.stop(t)
	leaks()
}

func TestWorkersAloneHaveProbes(t *testing.T) {
	c := settings(t)
	lines := &book{}
	a, err := New(t.Context(), Options{Config: c, Roles: []string{RoleWorkers}, Embedded: true, PathLookup: noServer, Log: lines.log()})
	must(t, err)
	r := run(t, a)
	eventually(t, "ready", func() bool { code, _ := scrape(t, a, "/readyz"); return code == http.StatusOK })
	_, text := scrape(t, a, "/readyz")
	hasText(t, text, `"workers":"ok"`, `"redis":"ok"`, `"process":"ok"`)
	r.stop(t)
}

func TestLookAtTheQueue(t *testing.T) {
	top, _ := ensured(t, config.Default())
	s, err := top.look(t.Context())
	must(t, err)
	if s.Pending != 0 || !s.Oldest.IsZero() || s.MaxMessages != 125_000 || s.MaxBytes != 2<<30 {
		t.Errorf("empty: %+v", s)
	}
	for range 3 {
		publish(t, top, contracts.SubjectChat(aConversation))
	}
	publish(t, top, contracts.SubjectDead("workers"))
	c, err := top.consumer(t.Context())
	must(t, err)
	first, err := c.Next(jetstream.FetchMaxWait(patience))
	must(t, err)
	second, err := c.Next(jetstream.FetchMaxWait(patience))
	must(t, err)
	stored := func(m jetstream.Msg) time.Time {
		meta, err := m.Metadata()
		must(t, err)
		return meta.Timestamp
	}
	eventually(t, "the consumer has counted the third", func() bool { // it counts a moment after a publish is acknowledged
		s, err = top.look(t.Context())
		return err == nil && s.Pending == 1
	})
	if s.Pending != 1 || s.InProgress != 2 || s.Messages != 3 || s.Dead != 1 || s.Bytes == 0 {
		t.Errorf("state %+v", s)
	}
	if !s.Oldest.Equal(stored(first)) {
		t.Errorf("the oldest is of %s, want the first", s.Oldest)
	}
	must(t, first.DoubleAck(t.Context()))
	s, err = top.look(t.Context())
	must(t, err)
	if s.InProgress != 1 || !s.Oldest.Equal(stored(second)) {
		t.Errorf("not the second: %+v", s)
	}
	must(t, top.js.DeleteStream(t.Context(), contracts.StreamDead))
	if _, err := top.look(t.Context()); err == nil {
		t.Error("a state without dead letters")
	}
}

func TestProbeTellsOfTheStop(t *testing.T) {
	a, _, err := up(t, settings(t))
	must(t, err)
	checks := a.probes()
	must(t, checks["process"](t.Context()))
	if err := checks["workers"](t.Context()); err == nil {
		t.Error("workers that have not begun are said to fetch")
	}
	close(a.watch.stopping)
	if err := checks["process"](t.Context()); err == nil {
		t.Error("a process that stops is said to be ready")
	}
	must(t, a.close())
}

func TestMetricsAddress(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = taken.Close() })
	t.Run("taken", func(t *testing.T) {
		c := settings(t)
		c.Metrics.Listen = taken.Addr().String()
		_, _, err := up(t, c)
		if err == nil {
			t.Fatal("it starts")
		}
		hasText(t, err.Error(), "metrics.listen", taken.Addr().String())
		unlocked(t, c.DataDir)
	})
	t.Run("default taken", func(t *testing.T) {
		// Somebody else may have the port already; then that one is in the way.
		if l, err := net.Listen("tcp", config.Default().Metrics.Listen); err == nil {
			t.Cleanup(func() { _ = l.Close() })
		}
		c := settings(t)
		c.Metrics.Listen = config.Default().Metrics.Listen
		a, lines, err := up(t, c)
		must(t, err)
		if a.MetricsAddress() == c.Metrics.Listen {
			t.Error("the taken address is used")
		}
		hasText(t, lines.String(), "another one was chosen", a.MetricsAddress())
		must(t, a.close())
	})
	t.Run("off", func(t *testing.T) {
		leaks := noLeak(t)
		c := settings(t)
		c.Metrics.Listen = ""
		c.Model.Catalog = anyModel(0)
		a, _, err := up(t, c)
		must(t, err)
		r := run(t, a)
		await(t, "ready", r.Ready())
		traffic(t, a)
		equal(t, "address", a.MetricsAddress(), "")
		r.stop(t)
		leaks()
	})
}
