package prompt

import (
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/clipperhouse/uax29/v2/graphemes"

	"moltbot/contracts"
)

// What stands behind a text that was cut, and behind an answer that was stopped.
const (
	cutEnglish     = "\n[… shortened]"
	cutChinese     = "\n[……内容过长，已截断]"
	stoppedEnglish = "\n[the user stopped this answer]"
	stoppedChinese = "\n[用户停止了这条回答]"
)

// shorten cuts a text that has more than limit tokens, and says so in it. With
// the note it has limit tokens at most. No limit is 0.
func (b *Builder) shorten(text string, limit int) (string, bool) {
	if limit == 0 || len(text) <= limit { // a token is at least a byte
		return text, false
	}
	if _, _, whole := b.prefix(text, limit); whole {
		return text, false
	}
	note := inLanguageOf(text, cutEnglish, cutChinese)
	for room := limit - b.Count(note); room > 0; {
		end, _, _ := b.prefix(text, room)
		if end = boundary(text, end); end == 0 {
			break // a character that is longer than the limit
		}
		cut := text[:end] + note
		// Two texts may have a token or two more together than each alone.
		over := b.Count(cut) - limit
		if over <= 0 {
			return cut, true
		}
		room -= over
	}
	if note = strings.TrimSpace(note); b.Count(note) <= limit {
		return note, true
	}
	return "", true
}

// prefix is how much of a text has at most limit tokens, how many they are, and
// whether that is all of it. It reads no further than it must: a text of any size
// costs what limit does.
func (b *Builder) prefix(text string, limit int) (end, n int, whole bool) {
	for rest := text; rest != ""; {
		var piece string
		piece, rest = pieceOf(rest)
		more := b.count(piece)
		if n+more > limit {
			return end + sort.Search(len(piece), func(i int) bool { return n+b.count(piece[:i+1]) > limit }), n, false
		}
		n += more
		end += len(piece)
	}
	return end, n, true
}

// boundary is the last place up to end where a text can be cut: not inside a
// character as a reader sees it, of however many code points that may be. What
// follows a line's end or a control character always begins a new one.
func boundary(text string, end int) int {
	for end > 0 && end < len(text) && !utf8.RuneStart(text[end]) {
		end--
	}
	from := strings.LastIndexByte(text[:end], '\n') + 1
	last := from
	for g := graphemes.FromString(text[from:]); g.Next(); {
		next := from + g.End()
		if next > end {
			break
		}
		last = next
	}
	return last
}

// squeeze cuts the texts of a turn to what is left of the budget. The user's gets
// at least half of it.
func (b *Builder) squeeze(t contracts.Turn, left int) (_ contracts.Turn, cut bool) {
	if t.Stopped {
		left -= b.Count(stoppedNote(t))
	}
	_, answer, whole := b.prefix(t.Assistant, left)
	if !whole {
		answer = left
	}
	user, cutUser := b.shorten(t.User, max(1, left/2, left-answer))
	assistant, cutAnswer := b.shorten(t.Assistant, max(1, left-b.Count(user)))
	t.User, t.Assistant = user, assistant
	return t, cutUser || cutAnswer
}

// unsaid is a turn that was stopped before anything was said.
func unsaid(t contracts.Turn) bool { return t.Stopped && strings.TrimSpace(t.Assistant) == "" }

// said is the answer as the model is to see it.
func said(t contracts.Turn) string {
	if t.Stopped {
		return t.Assistant + stoppedNote(t)
	}
	return t.Assistant
}

func stoppedNote(t contracts.Turn) string {
	return inLanguageOf(t.Assistant, stoppedEnglish, stoppedChinese)
}

// languageSample is how much of a text, in bytes, decides on its language.
const languageSample = 4 << 10

// inLanguageOf chooses as the apology of a chain does: one Han character, and it is Chinese.
func inLanguageOf(text, english, chinese string) string {
	for _, r := range text[:min(len(text), languageSample)] {
		if unicode.Is(unicode.Han, r) {
			return chinese
		}
	}
	return english
}
