package model

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// For somebody who reads along the demo spreads its time over its words.
func TestDemoSpeaksWordByWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, last := time.Now(), time.Duration(0)
		var said []string
		a, err := Demo{Delay: time.Hour}.Complete(t.Context(), Request{
			Messages: []Message{{Role: RoleUser, Text: "hello"}},
			OnDelta: func(text string) {
				if at := time.Since(began); at <= last {
					t.Errorf("%q after %s", text, at)
				} else {
					last = at
				}
				said = append(said, text)
			},
		})
		if err != nil || strings.Join(said, "") != a.Text || len(said) < 10 || last > time.Hour || last < 59*time.Minute {
			t.Errorf("%q within %s, %v", said, last, err)
		}
	})
	for text, want := range map[string][]string{
		"":         {""},
		"one":      {"one"},
		" a  b c ": {" ", "a ", " ", "b ", "c "},
		"ok 你好, x": {"ok ", "你", "好, ", "x"},
	} {
		if got := words(text); !slices.Equal(got, want) {
			t.Errorf("%q: %q", text, got)
		}
	}
}
