package shown

import (
	"regexp"
	"strings"
)

var (
	tag     = regexp.MustCompile(`(?s)<!--.*?(?:-->|$)|<(/?)([A-Za-z][A-Za-z0-9-]*)((?:[\s/][^<>]*)?)>`)
	altText = regexp.MustCompile(`(?i)\balt\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))`)
	// known tags are markup of the answer; others, like <T>, are what it speaks of.
	known = regexp.MustCompile(`(?i)^(?:a|abbr|b|big|blockquote|body|br|caption|center|cite|code|col|colgroup|dd|del|details|div|dl|dt|em|font|footer|form|h[1-6]|head|header|hr|html|i|iframe|img|input|ins|kbd|li|link|main|mark|meta|nav|object|ol|p|picture|pre|q|s|samp|script|section|small|source|span|strike|strong|style|sub|summary|sup|svg|table|tbody|td|tfoot|th|thead|title|tr|tt|u|ul|var|video)$`)
	// broken tags end a line.
	breaks = regexp.MustCompile(`(?i)^(?:br|p|div|li|tr|h[1-6]|ul|ol|table|blockquote|pre|summary|details|section|hr|dd|dt)$`)
)

// tagless is HTML as text.
func tagless(s string) string {
	return tag.ReplaceAllStringFunc(s, func(t string) string {
		m := tag.FindStringSubmatch(t)
		switch name := m[2]; {
		case name == "":
			return "" // a comment
		case !known.MatchString(name):
			return t
		case strings.EqualFold(name, "img"):
			return imageText(altOf(m[3]))
		case breaks.MatchString(name):
			return "\n"
		}
		return ""
	})
}

func altOf(attributes string) string {
	m := altText.FindStringSubmatch(attributes)
	if m == nil {
		return ""
	}
	return m[1] + m[2] + m[3]
}

// imageText is shown instead of an image. Its address is not: to fetch it would
// tell its host what the address holds.
func imageText(alt string) string {
	if alt = strings.Join(strings.Fields(alt), " "); alt == "" {
		return "[image]"
	}
	return "[image: " + alt + "]"
}
