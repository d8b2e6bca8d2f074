package report

// Ratio relates two summaries of one bench: machines and neighbors change, and
// what ran in turns on the same machine is comparable.
type Ratio struct {
	Name       string  `json:"name"` // "chat/floor" | "cache/chat" | "openai/chat" | "context/fresh" | "fsync/os"
	Scenario   string  `json:"scenario"`
	Durability string  `json:"durability"`
	Callers    int     `json:"callers"`
	PerSecond  float64 `json:"per_second"` // throughput of the one by that of the other
	// PerCPU relates the answers for the same CPU time, which neighbors change
	// less; 0 where that is not known.
	PerCPU float64 `json:"per_cpu"`
}

func ratio(name string, s, base Summary) Ratio {
	r := Ratio{Name: name, Scenario: s.Scenario, Durability: s.Durability, Callers: s.Callers, PerSecond: s.PerSecond / base.PerSecond}
	if s.CPU > 0 && base.CPU > 0 {
		r.PerCPU = r.PerSecond * base.CPU / s.CPU
	}
	return r
}

const (
	closed = "closed"
	open   = "open"
)

// ratios compares closed loops only: an open one has the throughput it is given.
func ratios(all []Summary) []Ratio {
	out := []Ratio{}
	for _, s := range all {
		if s.Loop != closed || s.PerSecond <= 0 {
			continue
		}
		base := s.Key
		base.Scenario = "floor"
		if f, found := find(all, base); found && s.Scenario != "floor" && s.Scenario != "health" && f.PerSecond > 0 {
			out = append(out, ratio(s.Scenario+"/floor", s, f))
		}
		base.Scenario = "chat"
		if c, found := find(all, base); found && (s.Scenario == "cache" || s.Scenario == "openai") && c.PerSecond > 0 {
			out = append(out, ratio(s.Scenario+"/chat", s, c))
		}
		base.Scenario = "fresh"
		if f, found := find(all, base); found && s.Scenario == "context" && f.PerSecond > 0 {
			out = append(out, ratio("context/fresh", s, f))
		}
		base = s.Key
		base.Durability = "os"
		if o, found := find(all, base); found && s.Durability == "fsync" && o.PerSecond > 0 {
			out = append(out, ratio("fsync/os", s, o))
		}
	}
	return out
}

func find(all []Summary, k Key) (Summary, bool) {
	for _, s := range all {
		if s.Key == k {
			return s, true
		}
	}
	return Summary{}, false
}
