package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// WriteTable writes the report for people. baseline may be nil.
func (r *Report) WriteTable(w io.Writer, baseline *Report) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	head := "scenario\tdurability\tcallers\tloop\treq/s\tspread\tP50 ms\tP99\tP99.9\tmax\terrors\tCPU\tothers\tRSS MB\t"
	if baseline != nil {
		head += "vs base req/s\tP99\t"
	}
	fmt.Fprintln(t, head)
	for _, s := range r.Summary {
		line := fmt.Sprintf("%s\t%s\t%d\t%s\t%.0f\t%s\t%s\t%d\t%.2f\t%.2f\t%.0f\t", label(s.Key), dash(s.Durability), s.Callers, s.Loop,
			s.PerSecond, spread(s), quantiles(s.Latency), s.Failed, s.CPU, s.OtherCPU, float64(s.RSS)/(1<<20))
		if baseline != nil {
			line += against(s, baseline)
		}
		fmt.Fprintln(t, line)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	var b strings.Builder
	for _, s := range r.Summary {
		if s.Ideal > 0 {
			fmt.Fprintf(&b, "%s, %s: %.0f of %.0f req/s that the slots allow (%.0f %%)\n", label(s.Key), dash(s.Durability), s.PerSecond, s.Ideal, 100*s.PerSecond/s.Ideal)
		}
		if s.Note != "" {
			fmt.Fprintf(&b, "%s, %s: %s\n", label(s.Key), dash(s.Durability), s.Note)
		}
	}
	for _, x := range r.Ratios {
		fmt.Fprintf(&b, "ratio %s: %.2f, for the same CPU time %.2f  (%s, %s, %d callers)\n", x.Name, x.PerSecond, x.PerCPU, x.Scenario, dash(x.Durability), x.Callers)
	}
	r.faults(&b)
	r.doubts(&b)
	m := r.Machine
	fmt.Fprintf(&b, "%d cores, %s, %s, moltbot %s, load %.2f before and %.2f after; CPU in cores, others: not of this bench\n", m.Cores, m.Kernel, m.Go, m.Version, m.LoadBefore, m.LoadAfter)
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) faults(b *strings.Builder) {
	for _, row := range r.Rows {
		if row.Failed == 0 {
			continue
		}
		fmt.Fprintf(b, "failed in %s, %s, %d callers, %s loop, run %d:", label(row.Key), dash(row.Durability), row.Callers, row.Loop, row.Run)
		for _, kind := range sortedKeys(row.Faults) {
			fmt.Fprintf(b, " %s %d;", kind, row.Faults[kind])
		}
		if row.Overflow > 0 {
			fmt.Fprintf(b, " not sent because too many were in flight %d;", row.Overflow)
		}
		fmt.Fprintln(b)
	}
}

// What may be so before a row is doubted.
const (
	fewOthers = 0.2 // cores
	lagShare  = 0.25
	leastLag  = 1.0 // ms
)

// doubts names the rows that say more of the machine than of the server.
func (r *Report) doubts(b *strings.Builder) {
	for _, row := range r.Rows {
		if row.OtherCPU > fewOthers {
			fmt.Fprintf(b, "doubtful: %s, %s, %d callers, %s loop, run %d: others took %.1f of %d cores\n",
				label(row.Key), dash(row.Durability), row.Callers, row.Loop, row.Run, row.OtherCPU, r.Machine.Cores)
		}
		if row.LagP99 > leastLag && row.LagP99 > lagShare*row.Latency.P99 {
			fmt.Fprintf(b, "doubtful: %s, %s, %d callers, %s loop, run %d: the bench itself was late, P99 %.1f ms of the %.1f ms\n",
				label(row.Key), dash(row.Durability), row.Callers, row.Loop, row.Run, row.LagP99, row.Latency.P99)
		}
	}
}

func label(k Key) string {
	if k.Workers > 0 {
		return fmt.Sprintf("%s/%d", k.Scenario, k.Workers)
	}
	return k.Scenario
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func spread(s Summary) string {
	if s.Runs < 2 || s.PerSecond <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f-%.0f", s.Lowest, s.Highest)
}

func quantiles(l Latency) string {
	if l == (Latency{}) {
		return "-\t-\t-\t-"
	}
	return fmt.Sprintf("%.2f\t%.2f\t%.2f\t%.2f", l.P50, l.P99, l.P999, l.Max)
}

// against is what changed since the baseline, in percent.
func against(s Summary, baseline *Report) string {
	b, found := find(baseline.Summary, s.Key)
	if !found {
		return "-\t-\t"
	}
	return percent(s.PerSecond, b.PerSecond) + "\t" + percent(s.Latency.P99, b.Latency.P99) + "\t"
}

func percent(now, before float64) string {
	if before <= 0 {
		return "-"
	}
	return fmt.Sprintf("%+.1f %%", 100*(now/before-1))
}
