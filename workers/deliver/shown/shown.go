// Package shown turns the Markdown of an answer into what a chat platform shows of
// it: its own dialect, cut into parts that it takes, without anything that would
// ping people, load an image or hide where a link leads. It does no I/O.
package shown

// Options of an answer's parts.
type Options struct {
	// MaxBytes is the most a part may have, written as the platform wants it.
	// Default: 28 KiB for Feishu, 12000 for DingTalk.
	MaxBytes int
	// LinkHosts are the hosts that links may lead to, with "*." before it also
	// those below one; what leads elsewhere is shown as text. Default: any host.
	LinkHosts []string
}

// Feishu gives the parts of md for a post's md tag; the same md gives the same
// parts, and at least one.
func Feishu(md string, o Options) []string { return cut(md, o) }

// DingTalk gives the parts of md for a markdown message.
func DingTalk(md string, o Options) []string { return cut(md, o) }

// Plain is md without markup, in one piece.
func Plain(md string) string { return md }

// Title is the first words of md, without markup.
func Title(md string) string { return md[:min(len(md), 20)] }

// cut is to be replaced: it neutralises nothing yet.
func cut(md string, _ Options) []string { return []string{md} }
