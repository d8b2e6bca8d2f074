package embedded

import "syscall"

// ownGroup also has the kernel end the child when we end without a word.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
