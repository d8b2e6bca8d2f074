//go:build !crashpoint

package app

// crashPoint is nil: this build has no way to be told to crash. The builds of
// the process tests have (crash_on.go).
func crashPoint() func(string) { return nil }
