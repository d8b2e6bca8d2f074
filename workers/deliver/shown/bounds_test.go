package shown

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// torture is text that is cheap to write and dear to read.
func torture() map[string]string {
	of := func(s string) string { return strings.Repeat(s, tortureSize/len(s)) }
	return map[string]string{
		"ticks": of("`"), "ticks apart": of("` "), "growing ticks": growing("`"), "fences": of("```\n"), "tildes": of("~"), "opens": of("["), "opens and closes": of("[]"),
		"links": of("[a](b"), "images": of("![a"), "nested links": of("[a](") + of(")"), "stars": of("*"), "stars apart": of("*a "), "stars and lines": of("**a_"),
		"quotes": of("> "), "quotes below": of(">\n"), "quotes deeper": deeper(">"), "lists deeper": deeper("- "), "lists": of("- \n"), "numbers": of("1. a\n"),
		"tables": of("|a"), "tables of lines": "|a|\n|-|\n" + of("|b|\n"), "wide tables": of("|a") + "\n" + of("|-") + "\n" + of("|b"), "rules": of("-\n"),
		"less": of("<"), "tags": of("<a "), "comments": of("<!--"), "entities": of("&#64"), "ampersands": of("&amp;"), "at signs": of("@"), "at signs apart": of("@ "), "colons": of(":"),
		"bangs": of("!"), "backslashes": of("\\"), "spaces": of(" "), "joins": of("a\u200d"), "joins alone": of("\u200d"), "combining": "a" + of("\u0301"), "flags": of("🇩"),
		"one word": of("a"), "one word of another script": of("字"), "addresses": of("www.a."), "hosts": of("a."), "schemes": of("http:"), "mails": of("a@b."), "references": of("[a]: b\n"),
		"references used": "[a]: http://x.io\n\n" + of("[a]"), "headings": of("# "), "headings below": of("#\n"), "tabs": of("\t"), "code of tabs": "```\n" + of("\t") + "\n```", "emphasis": of("*_"),
		"image then": of("![]"), "selectors": of("\ufe0f"), "at then selectors": "@" + of("\ufe0f") + of("@\u200d"), "commas": of("＠"), "less apart": of("< \n"), "a telephone number": "@" + of("1"),
		"brackets": of("!["), "unclosed comment": of("<!-- a"), "long link": "[a](http://x.io/" + of("a") + ")", "long scheme": of("a") + "://", "entity at": of("&amp;#64;"), "strikes": of("~~a"),
	}
}

func growing(s string) string {
	var b strings.Builder
	for i := 1; b.Len() < tortureSize; i++ {
		b.WriteString(strings.Repeat(s, i) + "a")
	}
	return b.String()
}

func deeper(s string) string {
	var b strings.Builder
	for i := 1; b.Len() < tortureSize; i++ {
		b.WriteString(strings.Repeat(s, min(i, 400)) + "a\n")
	}
	return b.String()
}

// A model, or who speaks through it, cannot keep a worker busy; and what a part
// takes in a request, JSON in JSON, is within Feishu's limit of a post.
func TestTorture(t *testing.T) {
	const most, patience = 30 << 10, 5 * time.Second
	texts := torture()
	texts["go"] = "```go\n" + strings.Repeat("\t\t\tif a < b && c > \"d\" {\n", 4000) + "```"
	for name, md := range texts {
		began := time.Now()
		parts := Feishu(md, Options{})
		if took := time.Since(began); took > patience {
			t.Errorf("%s: took %s", name, took)
		}
		for i, p := range parts {
			inner, _ := json.Marshal(map[string]any{"zh_cn": map[string]any{"content": [][]any{{map[string]string{"tag": "md", "text": p}}}}})
			outer, _ := json.Marshal(string(inner))
			if len(outer) > most {
				t.Errorf("%s: part %d takes %d bytes, of %d", name, i, len(outer), most)
				break
			}
		}
	}
}
