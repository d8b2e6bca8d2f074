package shown

import (
	"fmt"
	"html"
	"math/rand/v2"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
)

// Forms that no part may have, whoever reads it: as it is, or with its entities
// decoded. They say it in other words than the code does.
var forbidden = []*regexp.Regexp{
	regexp.MustCompile(`(?i)[@＠][^\S\n]*\n?[^\S\n]*_?(all|everyone|here|所有人)`),
	regexp.MustCompile(`@\d{6}`),
	regexp.MustCompile(`(?i)<[^\S\n]*\n?[^\S\n]*/?[^\S\n]*at(\s|>|$)`),
	regexp.MustCompile(`!\[[^\]\n]*\]\s?\(`),
	regexp.MustCompile(`(?i)\]\s?\(\s*(javascript|data|vbscript|file|ftp|lark|dingtalk|dtmd):`),
	regexp.MustCompile("[\u202a-\u202e\u2066-\u2069\u200e\u200f\u0000-\u0008\u000b-\u001f\u007f]"),
}

// check is the oracle: what must hold of every part of every answer.
func check(t *testing.T, md string, parts []string, o Options, most size) {
	t.Helper()
	if len(parts) == 0 {
		t.Fatalf("no part of %q", md)
	}
	for _, p := range parts {
		if !utf8.ValidString(p) || strings.TrimSpace(p) == "" {
			t.Fatalf("part %q of %q is empty, or no UTF-8", p, md)
		}
		if len(p) > most.bytes || most.runes > 0 && utf8.RuneCountInString(p) > most.runes {
			t.Fatalf("a part has %d bytes, %d characters; the limit is %v\n%q", len(p), utf8.RuneCountInString(p), most, md)
		}
		for _, f := range forbidden {
			if at := f.FindString(p); at != "" {
				t.Fatalf("%q is left in %q of %q", at, p, md)
			}
			if at := f.FindString(html.UnescapeString(p)); at != "" {
				t.Fatalf("%q is left in %q of %q once decoded", at, p, md)
			}
		}
		reread(t, md, p, o)
	}
}

// reread reads a part as a platform with every extension may: it must find nothing
// but what may be shown.
func reread(t *testing.T, md, part string, o Options) {
	t.Helper()
	source := []byte(part)
	doc := goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser().Parse(text.NewReader(source))
	leads := func(to string) {
		u, err := url.Parse(to)
		if err != nil && strings.HasPrefix(to, "http://") && len(o.LinkHosts) == 0 {
			return // what was taken for a bare www.… leads nowhere
		}
		if err != nil || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "mailto" {
			t.Fatalf("a link to %q in %q of %q", to, part, md)
		}
		host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
		if len(o.LinkHosts) > 0 && !slices.Contains(o.LinkHosts, host) {
			t.Fatalf("a link to the host %q in %q of %q", host, part, md)
		}
	}
	_ = ast.Walk(doc, func(n ast.Node, enter bool) (ast.WalkStatus, error) {
		switch n := n.(type) {
		case *ast.Image, *ast.RawHTML, *ast.HTMLBlock:
			t.Fatalf("%s is left in %q of %q", n.Kind(), part, md)
		case *ast.Link:
			leads(string(n.Destination))
		case *ast.AutoLink:
			if n.AutoLinkType == ast.AutoLinkURL {
				leads(string(n.URL(source)))
			}
		}
		return ast.WalkContinue, nil
	})
}

// letters are what of a text is neither markup nor space.
func letters(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return -1
	}, s)
}

func kinds(md string, o Options) map[*[]string]size {
	bytes := func(usual int) int {
		if o.MaxBytes == 0 {
			return usual
		}
		return max(64, o.MaxBytes)
	}
	f, d := Feishu(md, o), DingTalk(md, o)
	return map[*[]string]size{&f: {bytes: bytes(28 << 10)}, &d: {bytes: bytes(12000), runes: 3800}}
}

func all(t *testing.T, md string, o Options) {
	t.Helper()
	for parts, most := range kinds(md, o) {
		check(t, md, *parts, o, most)
	}
	for parts := range kinds(md, o) {
		again := false
		for same := range kinds(md, o) {
			again = again || slices.Equal(*parts, *same)
		}
		if !again {
			t.Fatalf("%q gives other parts the second time", md)
		}
	}
	if title := Title(md); title == "" || strings.ContainsAny(title, "\n") || !utf8.ValidString(title) {
		t.Fatalf("title %q of %q", title, md)
	}
	check(t, md, []string{Title(md)}, Options{LinkHosts: []string{"."}}, size{bytes: 1 << 20})
}

var seeds = []string{
	"", "# h\n\ntext **b** *i*", "@all @ 所有人 <at user_id=\"all\">", "![x](http://x/?k=1) [a](javascript:x)", "```\n@all\n```",
	"|a|b|\n|-|-|\n|1|2|", "- a\n  - b\n    1. c\n\n       d", "> q\n> > r", "[a]: javascript:x\n\n[a] ![a]", "<div>\n@all</div>", "\\<at\\>", "&lt;at&gt;",
	"`` ` ``", "~~~\n```\n", "a\x00\u202eb", "http://x.io www.y.io z@w.io <ftp://x>", "<!-- x", "*a**b*", "![", "](", "@`all`", "!`x`[a](http://x.io)", "[`]`](http://x.io)",
	"[a](http://x.io 't') [b](<http://x.io/ y>)", "<at\n>", "@\nall", "&#64;&#97;ll", "1. a\n\n\n   ![b](c)", "a[^1]\n\n[^1]: javascript:x",
}

func FuzzShown(f *testing.F) {
	for _, s := range seeds {
		f.Add(s, 0, false)
		f.Add(s, 64, true)
	}
	f.Fuzz(func(t *testing.T, md string, most int, limited bool) {
		o := Options{MaxBytes: max(0, most%4096)}
		if limited {
			o.LinkHosts = []string{"x.io"}
		}
		all(t, md, o)
	})
}

// TestByChance puts texts together of pieces that mean something.
func TestByChance(t *testing.T) {
	pieces := append([]string{
		"@", "all", "所有人", "<", ">", "at ", "/", "user_id=\"all\"", "!", "[", "]", "(", ")", "(javascript:x)", "(http://x.io)", "(http://evil.io/?k=1)", "http://evil.io/?k=1",
		"`", "```", "\n", "\n\n", "    ", "- ", "1. ", "> ", "# ", "*", "**", "_", "~~", "|", "|-|-|\n", "\\", "&lt;", "&#64;", "&amp;", "<b>", "</b>", "<img src=x>", "<!--",
		"\u200d", "\u200b", "\u202e", "\ufe0f", "词句。", "word ", "👨‍👩‍👧", ": ", "://", "javascript:", "13800000000", "\"", "\t", "-->",
	}, seeds...)
	n := 4000
	if testing.Short() {
		n = 1000
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range n {
		var b strings.Builder
		for range 1 + r.IntN(24) {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
		o := Options{MaxBytes: []int{0, 64, 100, 300}[r.IntN(4)]}
		if r.IntN(2) == 0 {
			o.LinkHosts = []string{"x.io"}
		}
		all(t, b.String(), o)
	}
}

// answerOf makes a long answer as models write them, of about n bytes.
func answerOf(n int) string {
	r := rand.New(rand.NewPCG(3, 4))
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		switch i % 7 {
		case 0:
			fmt.Fprintf(&b, "## Step %d 第%d步\n\n", i, i)
		case 1, 4:
			b.WriteString(strings.Repeat(fmt.Sprintf("A **sentence** number%d with `code%d` and [link%d](https://x.io/a). ", i, i, i), 2+r.IntN(12)) + "\n\n")
		case 2:
			b.WriteString(strings.Repeat(fmt.Sprintf("这是第%d句话，内容很多。", i), 3+r.IntN(60)) + "\n\n")
		case 3:
			b.WriteString("```go\n" + strings.Repeat(fmt.Sprintf("func f%d(a []int) { return a[0] }\n", i), 2+r.IntN(60)) + "```\n\n")
		case 5:
			for j := range 3 + r.IntN(9) {
				fmt.Fprintf(&b, "%d. item%d of %d\n   - sub%d\n", j+1, j, i, j)
			}
			b.WriteByte('\n')
		case 6:
			b.WriteString("| name | value |\n|---|---|\n" + strings.Repeat(fmt.Sprintf("| row%d | **v%d** |\n", i, i), 2+r.IntN(40)) + "\n")
		}
	}
	return b.String()
}

func TestNothingIsLost(t *testing.T) {
	md := answerOf(100 << 10)
	plain := letters(strings.ReplaceAll(strings.ReplaceAll(Plain(md), "https://x.io/a", ""), "```", ""))
	for _, most := range []int{0, 500, 1000, 4000} {
		for kind, show := range map[string]func(string, Options) []string{"feishu": Feishu, "dingtalk": DingTalk} {
			parts := show(md, Options{MaxBytes: most})
			whole := strings.Join(parts, "\n")
			if n := strings.Count(whole, "```"); n%2 != 0 {
				t.Errorf("%s: %d fences", kind, n)
			}
			for i, p := range parts {
				if strings.Count(p, "```")%2 != 0 || strings.Count(p, "**")%2 != 0 {
					t.Errorf("%s: part %d has an open fence or an open mark:\n%s", kind, i, p)
				}
			}
			got := letters(strings.ReplaceAll(strings.ReplaceAll(whole, "(https://x.io/a)", ""), "```go", ""))
			if kind == "dingtalk" && got != plain { // tables of Feishu repeat their heads
				t.Errorf("%s: what was cut into %d parts of %d bytes is another text", kind, len(parts), most)
			}
			if kind == "feishu" && letters(strings.ReplaceAll(got, "namevalue", "")) == "" {
				t.Errorf("%s: nothing is left", kind)
			}
		}
	}
}

func TestWhereItIsCut(t *testing.T) {
	para := strings.Repeat("word ", 30)
	for name, c := range map[string]struct {
		md   string
		most int
		want []string
	}{
		"paragraphs":                   {"aaaa bbbb\n\n" + strings.Repeat("c", 60), 64, []string{"aaaa bbbb", strings.Repeat("c", 60)}},
		"sentences":                    {"One two three four five. Six seven eight nine ten. Eleven twelve thirteen fourteen.", 64, []string{"One two three four five. Six seven eight nine ten.", "Eleven twelve thirteen fourteen."}},
		"cjk":                          {"一二三四五六七八九十。一二三四五六七。九十一二三四五", 64, []string{"一二三四五六七八九十。一二三四五六七。", "九十一二三四五"}},
		"a heading goes with its text": {"text here\n\n# Head\n\n" + para[:49], 64, []string{"text here", "**Head**\n\n" + strings.TrimSpace(para[:49])}},
		"a list is kept whole":         {strings.Repeat("x", 30) + "\n\n- aaaa\n- bbbb\n- cccc\n- dddd", 64, []string{strings.Repeat("x", 30), "- aaaa\n- bbbb\n- cccc\n- dddd"}},
		"bold goes on":                 {"**" + strings.TrimSpace(para[:100]) + "**", 64, []string{"**" + strings.TrimSpace(para[:60]) + "**", "**" + strings.TrimSpace(para[:40]) + "**"}},
		"fence":                        {"```go\n" + strings.Repeat("line of code\n", 6) + "```", 64, []string{"```go\nline of code\nline of code\nline of code\n```", "```go\nline of code\nline of code\nline of code\n```"}},
		"no link is cut":               {"aaaa bbbb cccc dddd eeee [some label here](https://x.io/abcdefgh)", 64, []string{"aaaa bbbb cccc dddd eeee", "[some label here](https://x.io/abcdefgh)"}},
		"graphemes":                    {strings.Repeat("👨‍👩‍👧", 5), 64, []string{strings.Repeat("👨‍👩‍👧", 3), strings.Repeat("👨‍👩‍👧", 2)}},
	} {
		if got := Feishu(c.md, Options{MaxBytes: c.most}); !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", name, got, c.want)
		}
	}
}

func BenchmarkFeishu100KB(b *testing.B) {
	md := answerOf(100 << 10)
	b.SetBytes(int64(len(md)))
	for b.Loop() {
		Feishu(md, Options{})
	}
}

func BenchmarkDingTalk100KB(b *testing.B) {
	md := answerOf(100 << 10)
	b.SetBytes(int64(len(md)))
	for b.Loop() {
		DingTalk(md, Options{})
	}
}
