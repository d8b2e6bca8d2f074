//go:build !linux

package child

import "syscall"

// ownGroup keeps Ctrl-C in a terminal for the bench, which then stops the child.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
