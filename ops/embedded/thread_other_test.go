//go:build !linux

package embedded

// threadID is of no matter where no signal is bound to a thread.
func threadID() int { return 0 }
