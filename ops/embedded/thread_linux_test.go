package embedded

import "syscall"

func threadID() int { return syscall.Gettid() }
