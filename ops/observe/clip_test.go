package observe

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestClip(t *testing.T) {
	for _, tt := range []struct {
		in    string
		limit int
		want  string
	}{
		{"", 10, ""},
		{"plain 你好", 256, "plain 你好"},
		{"a\nb\rc\td", 256, `a\nb\rc\td`},
		{"\x1b[31m\x00\x7f", 256, `\x1b[31m\x00\x7f`},
		{"\u009b\u202e\u200b\u2028\ufeff\U000e0001", 256, `\u009b\u202e\u200b\u2028\ufeff\U000e0001`},
		{"a\xffb", 256, `a\xffb`},
		{"a\ufffdb", 256, "a\ufffdb"}, // a real replacement character is text
		{"12345", 5, "12345"},
		{"123456", 5, "12…"},
		{"你好你", 6, "你…"},
		{"你好", 6, "你好"},
		{"你好", 5, "…"},
		{"a\nbcd", 5, "a…"},
		{"123", 2, "12"},
		{strings.Repeat("x", 300), 0, strings.Repeat("x", 253) + "…"},
	} {
		if got := Clip(tt.in, tt.limit); got != tt.want {
			t.Errorf("Clip(%q, %d) = %q, want %q", tt.in, tt.limit, got, tt.want)
		}
	}
}

func TestClipCostsItsLimit(t *testing.T) {
	short, long := strings.Repeat("\x1b", 1<<10), strings.Repeat("\x1b", 1<<20)
	count := func(s string) float64 { return testing.AllocsPerRun(10, func() { _ = Clip(s, MaxField) }) }
	if a, b := count(short), count(long); b > 2*a {
		t.Errorf("%v allocations for 1 MiB, %v for 1 KiB", b, a)
	}
}

func FuzzClip(f *testing.F) {
	f.Add("a\nb", 3)
	f.Add("\xff\u202e你", 7)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = 1 + limit&1023
		got := Clip(s, limit)
		if len(got) > limit || !utf8.ValidString(got) {
			t.Errorf("Clip(%q, %d) = %q", s, limit, got)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) }) {
			t.Errorf("Clip(%q, %d) = %q is hostile", s, limit, got)
		}
	})
}
