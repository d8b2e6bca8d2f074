// Package shown turns the Markdown of an answer into what a chat platform shows of
// it: its own dialect, cut into parts that it takes, without anything that would
// ping people, load an image or hide where a link leads. It does no I/O.
package shown

import (
	"strings"

	"github.com/clipperhouse/uax29/v2/graphemes"
)

// Options of an answer's parts.
type Options struct {
	// MaxBytes is the most a part may have, at least 64. Feishu's are measured as
	// they are written into the request, which takes JSON within JSON.
	// Default: 28 KiB for Feishu, 12000 for DingTalk.
	MaxBytes int
	// LinkHosts are the hosts that links may lead to, with "*." before it also
	// those below one; what leads elsewhere is shown as text. Default: any host.
	LinkHosts []string
}

const (
	feishuBytes   = 28 << 10 // of 30 KB, which a post's envelope is a part of
	dingTalkBytes = 12000    // of 15000, in JSON and with the title
	dingTalkRunes = 3800     // what others found to be shown whole (facts)
	leastBytes    = 64       // the markup around a character must fit, too
	titleRunes    = 40
)

// nothing is shown where an answer has no text.
const nothing = "（回答是空的 / The answer is empty.）"

// dialect is how a platform writes and measures.
type dialect struct {
	plain     bool // no markup
	headings  bool // it shows # as headings
	strike    bool
	codeTable bool   // small tables as code, whose columns stand below each other
	newline   string // within a paragraph
	maxBytes  int
	maxRunes  int
	nested    bool // bytes are counted as in JSON within JSON
	hosts     []string
}

// Feishu gives the parts of md for a post's md tag; the same md gives the same
// parts, and at least one.
func Feishu(md string, o Options) []string {
	return parts(md, &dialect{strike: true, codeTable: true, newline: "\n", nested: true, maxBytes: limit(o.MaxBytes, feishuBytes), hosts: o.LinkHosts})
}

// DingTalk gives the parts of md for a markdown message. Lines there end with two
// spaces, and its tables and strikes would be shown as they are written.
func DingTalk(md string, o Options) []string {
	return parts(md, &dialect{
		headings: true, newline: "  \n", maxBytes: limit(o.MaxBytes, dingTalkBytes), maxRunes: dingTalkRunes, hosts: o.LinkHosts,
	})
}

// Plain is md without markup, in one piece.
func Plain(md string) string {
	return parts(md, &dialect{plain: true, newline: "\n", maxBytes: 1 << 62})[0]
}

// Title is the first words of md, without markup and links, in one line.
func Title(md string) string {
	d := &dialect{plain: true, newline: "\n", maxBytes: 1 << 62, hosts: []string{"."}}
	words := strings.Fields(parts(md[:wholeRunes(md, 16<<10)], d)[0])
	line := strings.ReplaceAll(strings.Join(words, " "), gap, "")
	line = calmer{hosts: true}.text(line, false) // what is in one line now may make signs together
	n, end := 0, 0
	for g := graphemes.FromString(line); g.Next(); end = g.End() {
		if n += strings.Count(g.Value(), "") - 1; n > titleRunes {
			return strings.TrimRight(line[:end], " ") + "…"
		}
	}
	return line
}

func limit(chosen, usual int) int {
	if chosen <= 0 {
		return usual
	}
	return max(chosen, leastBytes)
}

func parts(md string, d *dialect) []string {
	p := packer{dialect: d}
	p.pack(d.blocks(aired(clean(md))))
	if p.flush(); len(p.parts) == 0 {
		return []string{nothing}
	}
	return p.parts
}

// wholeRunes is how much of s is within most bytes and ends behind a character.
func wholeRunes(s string, most int) int {
	if len(s) <= most {
		return len(s)
	}
	for most > 0 && s[most]&0xC0 == 0x80 {
		most--
	}
	return most
}

// measure is what s takes of a part.
func (d *dialect) measure(s string) size {
	n := size{bytes: len(s)}
	if d.maxRunes > 0 {
		n.runes = strings.Count(s, "") - 1
	}
	if d.nested {
		for i := range len(s) {
			switch s[i] {
			case '"', '\\':
				n.bytes += 3 // \\\"
			case '\n', '\t':
				n.bytes += 2 // \\n
			case '<', '>', '&':
				n.bytes += 6 // \\u003c, as Go writes it where nobody forbids
			}
		}
	}
	return n
}

// size of a text in bytes, and in characters where they are limited.
type size struct{ bytes, runes int }

func (s size) plus(o size) size  { return size{s.bytes + o.bytes, s.runes + o.runes} }
func (s size) minus(o size) size { return size{s.bytes - o.bytes, s.runes - o.runes} }
func (s size) within(o size) bool {
	return s.bytes <= o.bytes && s.runes <= o.runes
}

// whole is the room of an empty part.
func (d *dialect) whole() size { return size{d.maxBytes, d.maxRunes} }
