package child

import (
	"fmt"
	"os"
)

// shared reads what of a process' resident memory is mapped from files.
func shared(pid int) uint64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	var size, resident, file uint64
	if _, err := fmt.Sscan(string(b), &size, &resident, &file); err != nil {
		return 0
	}
	return file * uint64(os.Getpagesize())
}
