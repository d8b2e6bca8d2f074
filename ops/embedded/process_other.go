//go:build !linux

package embedded

import "syscall"

// ownGroup has no death signal here: a child that outlives a killed parent is
// taken over at the next start.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
