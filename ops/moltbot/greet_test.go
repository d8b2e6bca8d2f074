package main

import "testing"

func TestPrintedAddressCanBeUsed(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:18789": "127.0.0.1:18789",
		"0.0.0.0:18789":   "127.0.0.1:18789",
		"[::]:80":         "127.0.0.1:80",
		"[::1]:80":        "[::1]:80",
		"10.0.0.7:80":     "10.0.0.7:80",
		"":                "",
	} {
		if got := reachable(listen); got != want {
			t.Errorf("reachable(%q) = %q, want %q", listen, got, want)
		}
	}
}
