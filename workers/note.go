package workers

import (
	"strconv"
	"strings"
)

// note is what a conversation remembers beside its context. It lies in the clear,
// so it holds nothing that a user wrote: the model is a name of the table.
type note struct {
	model   string // that the user chose; empty: none
	stopped int    // messages that were stopped since the last command to stop
}

// The words of a note.
const (
	noteModel   = "model="
	noteStopped = "stopped="
)

// readNote takes what it knows, so that a later version may add to it.
func readNote(s string) (n note) {
	for word := range strings.FieldsSeq(s) {
		if model, ok := strings.CutPrefix(word, noteModel); ok {
			n.model = model
		}
		if count, ok := strings.CutPrefix(word, noteStopped); ok {
			n.stopped, _ = strconv.Atoi(count) // 0 where it is none
		}
	}
	n.stopped = max(0, n.stopped)
	return n
}

func (n note) String() string {
	var words []string
	if n.model != "" {
		words = append(words, noteModel+n.model)
	}
	if n.stopped > 0 {
		words = append(words, noteStopped+strconv.Itoa(n.stopped))
	}
	return strings.Join(words, " ")
}

// kept gives n as an Outcome wants it.
func (n note) kept() *string {
	s := n.String()
	return &s
}
