package report

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

func rowOf(scenario, durability string, run int, perSecond float64) Row {
	return Row{
		Key: Key{Scenario: scenario, Durability: durability, Callers: 64, Loop: closed}, Run: run, Requests: uint64(10 * perSecond),
		PerSecond: perSecond, Latency: Latency{P50: 1, P90: 2, P99: 3 * float64(run), P999: 4, Max: 5}, Faults: map[string]uint64{},
		CPU: 1.5, OtherCPU: 0.25, RSS: map[string]uint64{"up": 3 << 20, "redis-server": 1 << 20},
	}
}

func sample() *Report {
	late := rowOf("chat", "fsync", 1, 200)
	late.LagP99, late.CPU = 2.5, 3
	failed := rowOf("chat", "os", 3, 300)
	failed.Failed, failed.Overflow, failed.Faults, failed.Note = 5, 2, map[string]uint64{"status 503": 1, "connect": 2}, "a note"
	scaled := rowOf("scale", "os", 1, 120)
	scaled.Workers, scaled.Ideal = 2, 128
	r := &Report{
		Started: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC),
		Machine: Machine{Cores: 2, OS: "linux", Arch: "amd64", Kernel: "6.1", Go: "go1.26", Version: "1.0", LoadBefore: 0.5, LoadAfter: 1.5},
		Settings: Settings{
			Scenarios: []string{"floor", "chat"}, Durability: []string{"os", "fsync"}, Callers: []int{64}, Loop: "both", OpenShare: 0.7,
			MaxInFlight: 4096, Slots: 128, Runs: 3, WarmupS: 2, DurationS: 10,
		},
		Rows: []Row{
			rowOf("floor", "os", 1, 1000), rowOf("chat", "os", 1, 400), late,
			rowOf("floor", "os", 2, 1200), rowOf("chat", "os", 2, 800), failed, scaled,
		},
	}
	r.Finish()
	return r
}

// Programs read the names: a change of this file is a change for them.
func TestJSONIsStable(t *testing.T) {
	var b bytes.Buffer
	if err := sample().WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/report.json"
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("the JSON form is not that of %s:\n%s", golden, b.Bytes())
	}
	back, err := Read(golden)
	if err != nil || len(back.Rows) != 7 || back.Summary[1] != sample().Summary[1] {
		t.Errorf("read back: %+v, %v", back, err)
	}
}

func TestReadRefusesWhatItDoesNotKnow(t *testing.T) {
	for name, text := range map[string]string{"newer.json": `{"format":99}`, "broken.json": `{`} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestSummaryIsTheMedian(t *testing.T) {
	s := sample().Summary
	if len(s) != 4 {
		t.Fatalf("%d summaries", len(s))
	}
	if f := s[0]; f.Scenario != "floor" || f.Runs != 2 || f.PerSecond != 1100 || f.Lowest != 1000 || f.Highest != 1200 || f.Latency.P99 != 4.5 || f.RSS != 4<<20 {
		t.Errorf("floor: %+v", f)
	}
	if c := s[1]; c.Scenario != "chat" || c.Runs != 3 || c.PerSecond != 400 || c.Lowest != 300 || c.Highest != 800 || c.Failed != 5 {
		t.Errorf("chat: %+v", c)
	}
}

func TestRatios(t *testing.T) {
	r := sample()
	if len(r.Ratios) != 2 {
		t.Fatalf("ratios: %+v", r.Ratios)
	}
	if x := r.Ratios[0]; x.Name != "chat/floor" || x.Durability != "os" || x.PerSecond != 400.0/1100 {
		t.Errorf("%+v", x)
	}
	if x := r.Ratios[1]; x.Name != "fsync/os" || x.Scenario != "chat" || x.PerSecond != 0.5 || x.PerCPU != 0.25 {
		t.Errorf("%+v", x)
	}
	if r.Failed() != 5 {
		t.Errorf("%d failed", r.Failed())
	}
}

// What is chat with a difference is compared with chat as well.
func TestRatiosToChat(t *testing.T) {
	openLoop := rowOf("cache", "os", 1, 500)
	openLoop.Loop = open
	r := &Report{Rows: []Row{
		rowOf("chat", "os", 1, 400), rowOf("cache", "os", 1, 1000), rowOf("openai", "os", 1, 300), rowOf("health", "os", 1, 9000),
		rowOf("openai", "fsync", 1, 100), openLoop,
	}}
	r.Finish()
	got := map[string]float64{}
	for _, x := range r.Ratios {
		got[x.Name+" "+x.Durability] = x.PerSecond
	}
	want := map[string]float64{"cache/chat os": 2.5, "openai/chat os": 0.75, "fsync/os fsync": 1.0 / 3}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	if err := sample().WriteTable(&b, nil); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(b.String()), " ")
	for _, want := range []string{
		"scenario durability callers loop req/s spread P50 ms P99 P99.9 max errors CPU others RSS MB",
		"floor os 64 closed 1100 1000-1200 1.00 4.50 4.00 5.00 0 1.50 0.25 4",
		"chat os 64 closed 400 300-800 1.00 6.00 4.00 5.00 5 1.50 0.25 4",
		"scale/2 os 64 closed 120 - ",
		"scale/2, os: 120 of 128 req/s that the slots allow (94 %)",
		"chat, os: a note",
		"ratio chat/floor: 0.36, for the same CPU time 0.36 (chat, os, 64 callers)",
		"failed in chat, os, 64 callers, closed loop, run 3: connect 2; status 503 1; not sent because too many were in flight 2;",
		"doubtful: chat, os, 64 callers, closed loop, run 2: others took 0.2 of 2 cores",
		"doubtful: chat, fsync, 64 callers, closed loop, run 1: the bench itself was late, P99 2.5 ms of the 3.0 ms",
		"2 cores, 6.1, go1.26, moltbot 1.0, load 0.50 before and 1.50 after",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the table lacks %q:\n%s", want, b.String())
		}
	}
}

func TestBaseline(t *testing.T) {
	before := sample()
	now := sample()
	now.Rows[0].PerSecond, now.Rows[3].PerSecond = 1210, 1210
	now.Rows = now.Rows[:6]
	now.Rows = append(now.Rows, rowOf("health", "os", 1, 9000))
	now.Finish()
	var b bytes.Buffer
	if err := now.WriteTable(&b, before); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(b.String()), " ")
	for _, want := range []string{"RSS MB vs base req/s P99", "1.50 0.25 4 +10.0 % +0.0 % chat", "health os 64 closed 9000 - 1.00 3.00 4.00 5.00 0 1.50 0.25 4 - -"} {
		if !strings.Contains(text, want) {
			t.Errorf("the table lacks %q:\n%s", want, b.String())
		}
	}
}

func TestLatencyOf(t *testing.T) {
	h := hdrhistogram.New(1, 1_000_000, 3)
	for i := int64(1); i <= 100; i++ {
		if err := h.RecordValue(i * 10); err != nil {
			t.Fatal(err)
		}
	}
	if l := LatencyOf(h); l != (Latency{P50: 0.5, P90: 0.9, P99: 0.99, P999: 1, Max: 1}) {
		t.Errorf("%+v", l)
	}
	if l := LatencyOf(nil); l != (Latency{}) {
		t.Errorf("of nothing: %+v", l)
	}
}

func TestThisMachine(t *testing.T) {
	if m := ThisMachine("1.2"); m.Cores < 1 || m.Go == "" || m.Version != "1.2" || m.OS == "" {
		t.Errorf("%+v", m)
	}
}
