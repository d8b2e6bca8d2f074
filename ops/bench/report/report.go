// Package report is what a bench found out: as JSON with stable names, as a
// table, as ratios, and compared with an earlier report. It computes from the
// rows it is given and measures nothing itself.
package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Format is the version of the JSON form. Names are added to it, never changed.
const Format = 1

// Report is one bench.
type Report struct {
	Format   int       `json:"format"`
	Started  time.Time `json:"started"`
	Machine  Machine   `json:"machine"`
	Settings Settings  `json:"settings"`
	Rows     []Row     `json:"rows"`
	Summary  []Summary `json:"summary"`
	Ratios   []Ratio   `json:"ratios"`
}

// Settings are how it was measured.
type Settings struct {
	Scenarios   []string `json:"scenarios"`
	Durability  []string `json:"durability"`
	Callers     []int    `json:"callers"`
	Loop        string   `json:"loop"`
	Rate        float64  `json:"rate"` // 0: a share of the throughput, see open_share
	OpenShare   float64  `json:"open_share"`
	MaxInFlight int      `json:"max_in_flight"`
	Slots       int      `json:"slots"`
	Runs        int      `json:"runs"`
	WarmupS     float64  `json:"warmup_s"`
	DurationS   float64  `json:"duration_s"`
	Profiled    bool     `json:"profiled"` // profiling makes everything slower
}

// Key says what was measured; rows with the same one are runs of the same.
type Key struct {
	Scenario   string `json:"scenario"`
	Durability string `json:"durability"` // os | fsync; empty for a server that is not ours
	Callers    int    `json:"callers"`    // of a closed loop; of an open one, those of the closed loop before it
	Workers    int    `json:"workers"`    // processes; 0 where everything is one process
	Loop       string `json:"loop"`       // closed | open | none
}

// Row is one measurement.
type Row struct {
	Key
	Run       int               `json:"run"`
	Rate      float64           `json:"rate"`     // arrivals per second asked for; 0 in a closed loop
	Requests  uint64            `json:"requests"` // good answers in the measured time
	PerSecond float64           `json:"per_second"`
	Latency   Latency           `json:"latency_ms"`
	LagP99    float64           `json:"lag_p99_ms"` // how late the bench itself was
	Failed    uint64            `json:"failed"`     // with overflow and those of the warm-up
	Faults    map[string]uint64 `json:"faults"`
	Overflow  uint64            `json:"overflow"`
	Peak      int64             `json:"peak_in_flight"`
	Asked     uint64            `json:"asked"`            // requests sent, with the warm-up
	CPU       float64           `json:"cpu"`              // cores used by the servers
	BenchCPU  float64           `json:"bench_cpu"`        // cores used by the bench
	OtherCPU  float64           `json:"other_cpu"`        // cores used by everything else: neighbors make figures too low
	RSS       map[string]uint64 `json:"rss_bytes"`        // by process
	Ideal     float64           `json:"ideal_per_second"` // slots / model time; 0 where that says nothing
	Note      string            `json:"note"`
}

// Latency are quantiles in milliseconds.
type Latency struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

// LatencyOf reads a histogram of microseconds.
func LatencyOf(h *hdrhistogram.Histogram) Latency {
	if h == nil || h.TotalCount() == 0 {
		return Latency{}
	}
	at := func(q float64) float64 { return float64(h.ValueAtQuantile(q)) / 1000 }
	return Latency{P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: float64(h.Max()) / 1000}
}

// Resident is the memory of all processes of the row.
func (r Row) Resident() uint64 {
	var sum uint64
	for _, n := range r.RSS {
		sum += n
	}
	return sum
}

// Summary is what several runs of the same came to: medians, and how far the
// throughput spread.
type Summary struct {
	Key
	Runs      int     `json:"runs"`
	PerSecond float64 `json:"per_second"`
	Lowest    float64 `json:"per_second_lowest"`
	Highest   float64 `json:"per_second_highest"`
	Latency   Latency `json:"latency_ms"`
	Failed    uint64  `json:"failed"` // of all runs
	CPU       float64 `json:"cpu"`
	OtherCPU  float64 `json:"other_cpu"`
	RSS       uint64  `json:"rss_bytes"`
	Ideal     float64 `json:"ideal_per_second"`
	Note      string  `json:"note"`
}

// Finish computes what follows from the rows.
func (r *Report) Finish() {
	r.Format = Format
	r.Summary = summaries(r.Rows)
	r.Ratios = ratios(r.Summary)
}

// Failed counts what did not go well, over all rows.
func (r *Report) Failed() uint64 {
	var n uint64
	for _, row := range r.Rows {
		n += row.Failed
	}
	return n
}

func summaries(rows []Row) []Summary {
	var order []Key
	groups := map[Key][]Row{}
	for _, r := range rows {
		if groups[r.Key] == nil {
			order = append(order, r.Key)
		}
		groups[r.Key] = append(groups[r.Key], r)
	}
	all := []Summary{}
	for _, k := range order {
		all = append(all, summary(k, groups[k]))
	}
	return all
}

func summary(k Key, rows []Row) Summary {
	s := Summary{Key: k, Runs: len(rows), Ideal: rows[0].Ideal, Note: rows[len(rows)-1].Note}
	mid := func(of func(Row) float64) float64 { return median(rows, of) }
	s.PerSecond = mid(func(r Row) float64 { return r.PerSecond })
	s.Lowest, s.Highest = rows[0].PerSecond, rows[0].PerSecond
	for _, r := range rows {
		s.Lowest, s.Highest = min(s.Lowest, r.PerSecond), max(s.Highest, r.PerSecond)
		s.Failed += r.Failed
	}
	s.Latency = Latency{
		P50:  mid(func(r Row) float64 { return r.Latency.P50 }),
		P90:  mid(func(r Row) float64 { return r.Latency.P90 }),
		P99:  mid(func(r Row) float64 { return r.Latency.P99 }),
		P999: mid(func(r Row) float64 { return r.Latency.P999 }),
		Max:  mid(func(r Row) float64 { return r.Latency.Max }),
	}
	s.CPU = mid(func(r Row) float64 { return r.CPU })
	s.OtherCPU = mid(func(r Row) float64 { return r.OtherCPU })
	s.RSS = uint64(mid(func(r Row) float64 { return float64(r.Resident()) }))
	return s
}

func median(rows []Row, of func(Row) float64) float64 {
	values := make([]float64, len(rows))
	for i, r := range rows {
		values[i] = of(r)
	}
	slices.SortFunc(values, cmp.Compare[float64])
	half := len(values) / 2
	if len(values)%2 == 1 {
		return values[half]
	}
	return (values[half-1] + values[half]) / 2
}

// WriteJSON writes the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// Read reads what WriteJSON wrote to a file.
func Read(path string) (*Report, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read report: %w", err)
	}
	var r Report
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("read report %s: %w", path, err)
	}
	if r.Format != Format {
		return nil, fmt.Errorf("read report %s: its format is %d, known is %d", path, r.Format, Format)
	}
	return &r, nil
}
