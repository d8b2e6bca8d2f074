package child

import "syscall"

// ownGroup keeps Ctrl-C in a terminal for the bench, which then stops the child,
// and has the kernel stop the child when the bench is killed.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
