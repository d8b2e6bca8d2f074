package child

import (
	"fmt"

	"github.com/shirou/gopsutil/v4/process"
)

// Usage is what a process and the processes below it consumed.
type Usage struct {
	CPU float64 // seconds of user and system time so far
	RSS uint64  // bytes now: of the process itself
	// Shared is the part of RSS that is mapped from files, which processes of one
	// program have in common. 0 where the system does not tell.
	Shared uint64
	// Below is the resident memory of the processes below it, by program name:
	// "up" has a Redis there.
	Below map[string]uint64
}

// Total is the resident memory of all.
func (u Usage) Total() uint64 {
	sum := u.RSS
	for _, b := range u.Below {
		sum += b
	}
	return sum
}

// Usage asks the system.
func (p *Process) Usage() (Usage, error) {
	u := Usage{Below: map[string]uint64{}}
	root, err := process.NewProcess(int32(p.cmd.Process.Pid))
	if err != nil {
		return u, fmt.Errorf("usage of %s: %w", p.name, err)
	}
	if u.RSS, err = u.add(root); err != nil {
		return u, fmt.Errorf("usage of %s: %w", p.name, err)
	}
	u.Shared = shared(p.cmd.Process.Pid)
	below, err := root.Children()
	if err != nil {
		return u, nil // it has none
	}
	for _, c := range below {
		rss, err := u.add(c)
		name, nameErr := c.Name()
		if err != nil || nameErr != nil {
			continue // it ended just now
		}
		u.Below[name] += rss
	}
	return u, nil
}

func (u *Usage) add(p *process.Process) (rss uint64, err error) {
	t, err := p.Times()
	if err != nil {
		return 0, err
	}
	m, err := p.MemoryInfo()
	if err != nil {
		return 0, err
	}
	u.CPU += t.User + t.System
	return m.RSS, nil
}
