package bench

import (
	"errors"
	"syscall"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"

	"moltbot/ops/bench/child"
)

// gauge reads, at the edges of what is recorded, what everybody consumed.
type gauge struct {
	s          *stand
	began      time.Time
	before     map[*server]float64
	self, busy float64
	err        error
	rss        map[string]uint64

	cpu, bench, others float64 // cores: the servers, this process, whatever else runs
}

func (g *gauge) begin() {
	g.began, g.before, g.self, g.busy = time.Now(), map[*server]float64{}, ownCPU(), busyCPU()
	for _, c := range g.s.servers {
		u, err := c.Usage()
		g.err = errors.Join(g.err, err)
		g.before[c] = u.CPU
	}
	if p := g.s.profiled; p != nil {
		g.err = errors.Join(g.err, p.BeginProfile())
	}
}

func (g *gauge) end() {
	if g.before == nil {
		return // the load ended before it was recorded
	}
	if p := g.s.profiled; p != nil {
		g.err = errors.Join(g.err, p.EndProfile())
	}
	wall := time.Since(g.began).Seconds()
	g.bench, g.rss = (ownCPU()-g.self)/wall, map[string]uint64{}
	for _, c := range g.s.servers {
		u, err := c.Usage()
		g.err = errors.Join(g.err, err)
		g.cpu += (u.CPU - g.before[c]) / wall
		g.add(c.role, u)
	}
	g.others = max(0, (busyCPU()-g.busy)/wall-g.cpu-g.bench)
}

func (g *gauge) add(role string, u child.Usage) {
	g.rss[role] += u.RSS
	for name, n := range u.Below {
		g.rss[name] += n
	}
}

// ownCPU is what this process used so far, in seconds.
func ownCPU() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // reported as none
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Nano()) / 1e9 }
	return seconds(u.Utime) + seconds(u.Stime)
}

// busyCPU is what the whole machine used so far, in seconds, with what the host
// took from it.
func busyCPU() float64 {
	all, err := cpu.Times(false)
	if err != nil || len(all) != 1 {
		return 0 // reported as none
	}
	t := all[0]
	return t.User + t.System + t.Nice + t.Irq + t.Softirq + t.Steal
}
