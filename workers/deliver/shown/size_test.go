//go:build !race

package shown

const tortureSize = 100_000
