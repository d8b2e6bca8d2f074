package report

// Ratio relates two summaries of one bench: machines and neighbors change, and
// what ran in turns on the same machine is comparable.
type Ratio struct {
	Name       string  `json:"name"` // "chat/floor" | "fsync/os"
	Scenario   string  `json:"scenario"`
	Durability string  `json:"durability"`
	Callers    int     `json:"callers"`
	PerSecond  float64 `json:"per_second"` // throughput of the one by that of the other
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
			out = append(out, Ratio{s.Scenario + "/floor", s.Scenario, s.Durability, s.Callers, s.PerSecond / f.PerSecond})
		}
		base = s.Key
		base.Durability = "os"
		if o, found := find(all, base); found && s.Durability == "fsync" && o.PerSecond > 0 {
			out = append(out, Ratio{"fsync/os", s.Scenario, s.Durability, s.Callers, s.PerSecond / o.PerSecond})
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
