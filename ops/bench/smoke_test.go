package bench

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"moltbot/ops/bench/load"
	"moltbot/ops/bench/report"
	"moltbot/ops/embedded"
)

func quick(t *testing.T, scenarios ...string) Options {
	t.Helper()
	bin := program(t)
	t.Setenv("TMPDIR", t.TempDir())
	return Options{
		Executable: bin, Scenarios: scenarios, Callers: []int{8}, Rate: 100, // so low that no neighbor matters
		Warmup: 100 * time.Millisecond, Duration: 300 * time.Millisecond,
		Requests: 40, ModelTime: 200 * time.Millisecond, Version: "test",
	}
}

// measured runs a bench that has to succeed, and leaves nothing behind.
func measured(t *testing.T, o Options) report.Report {
	t.Helper()
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if n := r.Failed(); n != 0 {
		t.Errorf("%d requests failed: %+v", n, r.Rows)
	}
	leftovers(t)
	return r
}

func leftovers(t *testing.T) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "moltbot-bench-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Every scenario that is loaded answers what it is asked, in both loops.
func TestLoadedScenarios(t *testing.T) {
	o := quick(t, Floor, Chat)
	o.Durability = []string{embedded.DurabilityOS, embedded.DurabilityFsync}
	r := measured(t, o)
	if len(r.Rows) != 8 { // 2 scenarios, 2 durabilities, 2 loops
		t.Fatalf("%d rows", len(r.Rows))
	}
	for _, row := range r.Rows {
		if row.Requests == 0 || row.PerSecond <= 0 || row.Latency.P50 <= 0 || row.Latency.Max < row.Latency.P50 || row.CPU <= 0 {
			t.Errorf("%+v", row)
		}
		server := "up"
		if row.Scenario == Floor {
			server = "floor"
		}
		if row.RSS[server] == 0 {
			t.Errorf("%s: memory %v", row.Scenario, row.RSS)
		}
	}
	names := map[string]int{}
	for _, x := range r.Ratios {
		names[x.Name]++
	}
	if names["chat/floor"] != 2 || names["fsync/os"] != 2 {
		t.Errorf("ratios %v", names)
	}
}

func TestOpenAI(t *testing.T) {
	r := measured(t, quick(t, OpenAI))
	if len(r.Rows) != 2 || r.Rows[0].Requests == 0 || r.Rows[1].Requests == 0 || r.Rows[0].RSS["up"] == 0 {
		t.Errorf("%+v", r.Rows)
	}
}

// The scenario itself refuses answers that are not from the cache.
func TestCache(t *testing.T) {
	r := measured(t, quick(t, Chat, Cache))
	if len(r.Rows) != 4 || r.Rows[2].Requests == 0 || r.Rows[3].Requests == 0 {
		t.Errorf("%+v", r.Rows)
	}
}

func TestStrangers(t *testing.T) {
	o := quick(t, Strangers)
	o.Rate = 200
	if r := measured(t, func() Options { open := o; open.Loop, open.Rate = loopOpen, 1000; return open }()); len(r.Rows) != 4 || r.Rows[2].Rate != 50 || r.Rows[2].Requests == 0 {
		t.Errorf("%+v", r.Rows)
	}
	r := measured(t, o)
	if len(r.Rows) != 5 || r.Rows[0].Loop != loopClosed || r.Rows[1].Rate < 0.29*r.Rows[0].PerSecond || r.Rows[1].Rate > 0.31*r.Rows[0].PerSecond {
		t.Fatalf("%+v", r.Rows)
	}
	for _, row := range r.Rows[2:] {
		if row.Requests == 0 || row.Failed > 0 || !strings.Contains(row.Note, "strange requests/s were answered, of 200 asked; the usual callers") {
			t.Errorf("%+v", row)
		}
	}
}

func TestHealth(t *testing.T) {
	r := measured(t, quick(t, Health))
	if len(r.Rows) != 2 || r.Rows[0].Requests == 0 || r.Rows[1].Requests == 0 {
		t.Errorf("%+v", r.Rows)
	}
}

func TestWaiting(t *testing.T) {
	r := measured(t, quick(t, Waiting))
	row := r.Rows[0]
	if row.Requests != 40 || row.Rate != 100 || row.Latency.P50 < 199 {
		t.Errorf("%+v", row)
	}
	for _, role := range []string{"ingress", "workers", "nats"} {
		if row.RSS[role] == 0 || !strings.Contains(row.Note, role+" ") {
			t.Errorf("%s: %v, %s", role, row.RSS, row.Note)
		}
	}
	if !strings.Contains(row.Note, " 2 workers ") {
		t.Error(row.Note)
	}
}

func TestStream(t *testing.T) {
	o := quick(t, Stream)
	o.ModelTime = time.Second
	r := measured(t, o)
	if row := r.Rows[0]; len(r.Rows) != 1 || row.Callers != 8 || row.Requests != 8 || row.Latency.P50 <= 0 || row.Latency.P50 > 900 ||
		row.RSS["ingress"] == 0 || !strings.Contains(row.Note, "8 of 8 streams whole") {
		t.Errorf("%+v", row)
	}
}

// A stream counts only where it showed what the model sent, all of it and nothing else.
func TestBrokenStreams(t *testing.T) {
	r := newReaders(&stand{addresses: []string{"x"}}, 1, &load.Live{})
	delta := func(text string) string { return "event: delta\ndata: {\"text\":\"" + text + "\"}\n\n" }
	done := func(text string) string { return "event: done\ndata: {\"reply\":\"" + text + "\"}\n\n" }
	text := "t1 " + r.want
	for name, c := range map[string]struct{ body, fault string }{
		"good":    {":\n\n" + delta("t1 word1 ") + delta(strings.TrimPrefix(r.want, "word1 ")) + done(text), ""},
		"less":    {delta("t1 word1 ") + done(text), faultText},
		"twice":   {delta(text) + delta("word1 ") + done(text), faultText},
		"other":   {delta(text) + done(text+"x"), faultText},
		"cut":     {delta(text), faultEnd},
		"reset":   {delta("t1 ") + "event: reset\ndata: {}\n\n", "reset"},
		"no JSON": {"event: delta\ndata: x\n\n", faultText},
	} {
		s, fault := r.follow(strings.NewReader(c.body))
		if fault == "" {
			fault = r.judge(s)
		}
		if fault != c.fault {
			t.Errorf("%s: %q, want %q", name, fault, c.fault)
		}
	}
}

// Of all readings the one counts in which most requests wait, of these the largest.
func TestMostWaitingCounts(t *testing.T) {
	low, high := map[string]uint64{"a": 1, "b": 1}, map[string]uint64{"a": 3}
	top := held{}
	for _, h := range []held{{waiting: 1, rss: high}, {waiting: 5, rss: low}, {waiting: 5, rss: high}, {waiting: 5, rss: low}, {waiting: 4, rss: high}} {
		if h.over(top) {
			top = h
		}
	}
	if top.waiting != 5 || top.sum() != 3 {
		t.Errorf("%+v", top)
	}
}

func TestScale(t *testing.T) {
	o := quick(t, Scale)
	o.ModelTime = 50 * time.Millisecond
	r := measured(t, o)
	if len(r.Rows) != 3 {
		t.Fatalf("%d rows", len(r.Rows))
	}
	for i, workers := range scaleWorkers() {
		row := r.Rows[i]
		if row.Workers != workers || row.Callers != 2*workers*scaleSlots || row.Ideal != float64(workers*scaleSlots)/0.05 || row.Requests == 0 {
			t.Errorf("%+v", row)
		}
	}
}

func TestIdle(t *testing.T) {
	r := measured(t, quick(t, Idle))
	if row := r.Rows[0]; row.Loop != loopNone || row.RSS["up"] == 0 || row.Asked != 0 {
		t.Errorf("%+v", row)
	}
}

func TestProfiles(t *testing.T) {
	o := quick(t, Floor, Chat)
	o.Profiles, o.Loop = t.TempDir(), loopClosed
	if r := measured(t, o); !r.Settings.Profiled {
		t.Error("the report does not say that it was profiled")
	}
	for _, dir := range []string{"floor-os-8-run1", "chat-os-8-run1"} {
		for _, name := range []string{"cpu", "heap", "block", "mutex"} {
			if info, err := os.Stat(filepath.Join(o.Profiles, dir, name+".pprof")); err != nil || info.Size() == 0 {
				t.Errorf("%s %s: %v", dir, name, err)
			}
		}
	}
}

func TestAgainst(t *testing.T) {
	var asked atomic.Uint64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Model    string
			Messages []struct{ Role, Content string }
		}
		if json.NewDecoder(r.Body).Decode(&body) != nil || body.Model != "small" || len(body.Messages) != 1 ||
			r.URL.Path != "/v1/chat/completions" || r.Header.Get("Authorization") != "Bearer s3cret" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		asked.Add(1)
		_, _ = w.Write([]byte(`{"choices":[{"message":{"role":"assistant","content":"yes"}}]}`))
	}))
	defer s.Close()
	o := quick(t)
	o.Against, o.Model, o.Key = s.URL, "small", "s3cret"
	r := measured(t, o)
	var sent uint64
	for _, row := range r.Rows {
		sent += row.Asked
	}
	if sent == 0 || sent != asked.Load() {
		t.Errorf("%d sent, %d asked", sent, asked.Load())
	}
	text, err := json.Marshal(r)
	if err != nil || strings.Contains(string(text), "s3cret") {
		t.Errorf("the report holds the key: %v", err)
	}
}

// A program that does not start is told with its own words, and nothing stays.
func TestStartThatFails(t *testing.T) {
	o := quick(t, Chat)
	o.Executable = filepath.Join(t.TempDir(), "moltbot")
	if err := os.WriteFile(o.Executable, []byte("#!/bin/sh\necho no luck >&2\nexit 7\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	r, err := Run(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "no luck") || !strings.Contains(err.Error(), "exit status 7") || len(r.Rows) != 0 {
		t.Errorf("%d rows, %v", len(r.Rows), err)
	}
	leftovers(t)
}

func TestInterrupt(t *testing.T) {
	o := quick(t, Chat)
	o.Duration = time.Hour
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	shown := &screen{first: make(chan struct{})}
	o.Progress = shown
	go func() {
		<-shown.first // something runs
		cancel(enough)
	}()
	if _, err := Run(ctx, o); !errors.Is(err, enough) {
		t.Errorf("error %v", err)
	}
	leftovers(t)
}
