package report

import (
	"maps"
	"runtime"
	"slices"

	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/load"
)

// Machine is where it was measured.
type Machine struct {
	Cores      int     `json:"cores"`
	OS         string  `json:"os"`
	Arch       string  `json:"arch"`
	Kernel     string  `json:"kernel"`
	Go         string  `json:"go"`
	Version    string  `json:"moltbot"`
	LoadBefore float64 `json:"load_before"` // of the last minute; others on the machine show here
	LoadAfter  float64 `json:"load_after"`
}

// ThisMachine describes the machine and its load now. What the system does not
// say is left empty.
func ThisMachine(version string) Machine {
	m := Machine{
		Cores: runtime.NumCPU(), OS: runtime.GOOS, Arch: runtime.GOARCH, Go: runtime.Version(), Version: version,
		LoadBefore: Load(),
	}
	m.Kernel, _ = host.KernelVersion() // empty: unknown
	return m
}

// Load is the machine's load of the last minute, 0 where that is unknown.
func Load() float64 {
	avg, err := load.Avg()
	if err != nil {
		return 0
	}
	return avg.Load1
}

func sortedKeys(m map[string]uint64) []string { return slices.Sorted(maps.Keys(m)) }
