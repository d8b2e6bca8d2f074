//go:build race

package shown

// The race detector makes everything some ten times slower.
const tortureSize = 10_000
