//go:build !linux

package child

func shared(int) uint64 { return 0 }
