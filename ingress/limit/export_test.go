package limit

// Known is how many callers l remembers.
func Known(l *Limiter) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.callers)
}
