package shown

import (
	"strings"
	"testing"
)

// seen makes gaps visible.
func seen(parts []string) string {
	return strings.ReplaceAll(strings.Join(parts, "\n=====\n"), gap, "|")
}

func TestDialects(t *testing.T) {
	for name, c := range map[string]struct{ md, feishu, dingtalk string }{
		"empty":         {" \n", nothing, nothing},
		"only a tag":    {"<br>", nothing, nothing},
		"text":          {"a\nb\n\nc", "a\nb\n\nc", "a  \nb\n\nc"},
		"heading":       {"# A *b*\ntext", "**A *b***\n\ntext", "# A *b*\n\ntext"},
		"bold heading":  {"## **A**", "**A**", "## A"},
		"setext":        {"A\n===", "**A**", "# A"},
		"styles":        {"**a** *b* ~~c~~ `d` ***e***", "**a** *b* ~~c~~ `d` ***e***", "**a** *b* c `d` ***e***"},
		"nested style":  {"**a *b* c**", "**a *b* c**", "**a *b* c**"},
		"escapes":       {`\*a\* \# 2 * 3 \\ C:\dir`, `\*a\* # 2 * 3 \\ C:\dir`, `\*a\* # 2 * 3 \\ C:\dir`},
		"entities":      {"&copy; &amp; &#x4E2D; A&B", "© & 中 A&B", "© & 中 A&B"},
		"list":          {"- a\n- b\n  - c\n    1. d\n- e", "- a\n- b\n    - c\n        1. d\n- e", "- a\n- b\n    - c\n        1. d\n- e"},
		"loose list":    {"1. a\n\n   more\n\n2. b", "1. a\n  more\n2. b", "1. a\n  more\n2. b"},
		"starts at 7":   {"7. a\n8. b", "7. a\n8. b", "7. a\n8. b"},
		"two lists":     {"- a\n\ntext\n\n- b", "- a\n\ntext\n\n- b", "- a\n\ntext\n\n- b"},
		"code in item":  {"1. a\n   ```go\n   x\n   ```\n2. b", "1. a\n```go\nx\n```\n2. b", "1. a\n```go\nx\n```\n2. b"},
		"quote":         {"> a\n> b\n>> c", "> a\n> b\n\n> c", "> a  \n> b\n\n> c"},
		"rule":          {"a\n\n---\n\nb", "a\n\n———\n\nb", "a\n\n———\n\nb"},
		"fence":         {"~~~ go run\nif a < b && c[0](d) {\n\n}\n~~~", "```go\nif a < b && c[0](d) {\n\n}\n```", "```go\nif a < b && c[0](d) {\n\n}\n```"},
		"odd language":  {"```<at>\nx\n```", "```\nx\n```", "```\nx\n```"},
		"indented code": {"    x\n      y", "```\nx\n  y\n```", "```\nx\n  y\n```"},
		"fence in it":   {"````md\n```\nx\n```\n````", "```md\n``|`\nx\n``|`\n```", "```md\n``|`\nx\n``|`\n```"},
		"ticks in code": {"``a`b``", "`a｀b`", "`a｀b`"},
		"unclosed":      {"```go\nx", "```go\nx\n```", "```go\nx\n```"},
		"link":          {"[a](https://x.io/p?q=1&r=(2) \"t\")", "[a](https://x.io/p?q=1&r=(2) \"t\")", ""},
		"bare link":     {"see https://x.io/a_b.", "see [https|://x.io/a_b](https://x.io/a_b).", ""},
		"reference":     {"[a][r]\n\n[r]: https://x.io", "[a](https://x.io)", "[a](https://x.io)"},
		"mail":          {"ann@x.io <bob@x.io> [m](mailto:a@x.io)", "ann@x.io bob@x.io [m](mailto:a@x.io)", "ann@x.io bob@x.io [m](mailto:a@x.io)"},
		"html":          {"a<br/>b <b>c</b> <font color=red>d</font> List<T> <!-- e -->", "a\nb c d List＜T>", "a  \nb c d List＜T>"},
		"html block":    {"<div>\n  <p>a &amp; b</p>\n</div>", "a & b", "a & b"},
		"narrow table":  {"|A|数|\n|-|-|\n|x|1|\n|长长|2|", "```\nA     数\n--------\nx     1\n长长  2\n```", "- A: x · 数: 1\n- A: 长长 · 数: 2"},
		"link in table": {"|A|B|\n|-|-|\n|[x](https://x.io)|**1**|", "- A: [x](https://x.io) · B: **1**", "- A: [x](https://x.io) · B: **1**"},
		"only a header": {"|A|B|\n|-|-|", "```\nA  B\n----\n```", "- A · B"},
	} {
		if name == "link" {
			c.feishu = "[a](https://x.io/p?q=1&r=%282%29)"
		}
		if name == "bare link" {
			c.feishu = "see [https://x.io/a_b](https://x.io/a_b)."
		}
		if c.dingtalk == "" {
			c.dingtalk = c.feishu
		}
		if got := seen(Feishu(c.md, Options{})); got != c.feishu {
			t.Errorf("%s: Feishu\n got %q\nwant %q", name, got, c.feishu)
		}
		if got := seen(DingTalk(c.md, Options{})); got != c.dingtalk {
			t.Errorf("%s: DingTalk\n got %q\nwant %q", name, got, c.dingtalk)
		}
	}
}

func TestNeutralised(t *testing.T) {
	for md, want := range map[string]string{
		"@all @ALL @ all @_all @所有人 ＠all":              "@|all @|ALL @| all @|_all @|所有人 ＠|all",
		"@everyone @here @a\u200bll @\u202eall":        "@|everyone @|here @|all @|all",
		"&#64;all &commat;all &amp;#64;all":            "@|all @|all &|#64;all",
		"@<b></b>all @**all** @~~all~~":                "@|all @|**all** @|~~all~~",
		"@13800000000 @manager42 a@13800000000":        "@|13800000000 @|manager42 a@|13800000000",
		"a@x.io and @ noon":                            "a@x.io and @ noon",
		`<at user_id="all">x</at>`:                     `＜at user_id="all">x＜/at>`,
		`< AT id=all></ at>`:                           `＜ AT id=all>＜/ at>`,
		`&lt;at user_id="all"&gt;`:                     `＜at user_id="all">`,
		`\<at id=all>`:                                 `＜at id=all>`,
		"<<b>at id=all>":                               "＜at id=all>",
		"a < b, 1<2":                                   "a < b, 1<2",
		"![k](http://x/?k=secret)":                     "[image: k]",
		"[![k](http://x/?k=s)](https://y.io)":          "[［image: k］](https://y.io)",
		"![k][r]\n\n[r]: http://x/?k=secret":           "[image: k]",
		"<img src='http://x/?k=s' alt='a cat'> b":      "[image: a cat] b",
		`\!\[k\]\(http://x/?k=s\)`:                     "!|[k]|(http://x/?k=s)",
		"[ok](javascript:alert(1))":                    "ok",
		"[ok](JaVa\tscript:alert(1)) [o](<data:x>)":    "[ok]|(JaVa\tscript:alert(1)) o",
		"[ok](&#106;avascript:alert(1))":               "ok",
		"[a](vbscript:x) [b](file:///etc) [c](dtmd:x)": "a b c",
		"[a](//x.io) [b](/p) [c](#d)":                  "a b c",
		"<javascript:alert(1)>":                        "javascript:|alert(1)",
		"lark://x.io dingtalk://y":                     "lark:|//x.io dingtalk:|//y",
		"[bank](https://bank.io@x.io)":                 "bank",
		`[a\](javascript:x)](https://ok.io)`:           "[a］(javascript:|x)](https://ok.io)",
		"[a](https://x.io/@all?u=@1)":                  "[a](https://x.io/%40all?u=%401)",
		"[@all](https://x.io)":                         "[@|all](https://x.io)",
		"`@all <at id=all>` `a <b> @Override`":         "`@|all <|at id=all>` `a <b> @Override`",
		"`![a](http://x)` `[a](javascript:x)`":         "`!|[a](http://x)` `[a]|(javascript:x)`",
		"```\n@all <at\nid> &lt;at &amp; x[0](y)\n```": "```\n@|all <|at\nid> &|lt;at &amp; x[0](y)\n```",
		"a\x00b\x1b[31m \u202egnp\u2066":               "ab[31m gnp",
	} {
		if got := seen(Feishu(md, Options{})); got != want {
			t.Errorf("%q:\n got %q\nwant %q", md, got, want)
		}
	}
}

func TestLinkHosts(t *testing.T) {
	o := Options{LinkHosts: []string{"ok.io", "*.corp.cn"}}
	for md, want := range map[string]string{
		"[a](https://ok.io/x) [b](https://a.corp.cn)":  "[a](https://ok.io/x) [b](https://a.corp.cn)",
		"[a](https://sub.ok.io) [b](https://xcorp.cn)": "a (sub|.ok|.io) b (xcorp|.cn)",
		"https://evil.io/?k=secret":                    "evil|.io",
		"<https://evil.io/?k=s> www.evil.io/k":         "evil|.io www|.evil|.io",
		"ht<b></b>tps://evil.io/?k=s evil.io/?k=s":     "https:|//evil|.io/?k=s evil|.io/?k=s",
		"[https://ok.io](https://evil.io/s)":           "https:|//ok.io (evil|.io)",
		"[m](mailto:a@evil.io)":                        "m",
		"[a](https://OK.io./x)":                        "[a](https://OK.io./x)",
	} {
		if got := seen(DingTalk(md, o)); got != want {
			t.Errorf("%q:\n got %q\nwant %q", md, got, want)
		}
	}
}

func TestPlainAndTitle(t *testing.T) {
	md := "# Hi **you**\n\n- [a](https://x.io)\n- `b`\n\n```go\nx := 1\n```\n@all"
	if got, want := strings.ReplaceAll(Plain(md), gap, "|"), "Hi you\n\n- a (https://x.io)\n- b\n\nx := 1\n\n@|all"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for md, want := range map[string]string{
		"":                          nothing,
		"# Hi **you**\nthere":       "Hi you there",
		"![x](http://x)":            "[image: x]",
		strings.Repeat("很长的标题", 20): strings.Repeat("很长的标题", 8) + "…",
		strings.Repeat("👨‍👩‍👧", 20) + "x": strings.Repeat("👨‍👩‍👧", 8) + "…",
	} {
		if got := Title(md); got != want {
			t.Errorf("Title(%q) = %q, want %q", md, got, want)
		}
	}
}
