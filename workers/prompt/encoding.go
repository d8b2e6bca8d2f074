package prompt

import (
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/tiktoken-go/tokenizer"
)

// Encoding names a vocabulary.
type Encoding string

// The vocabularies we know.
const (
	O200kBase  Encoding = "o200k_base"  // gpt-4o and later
	Cl100kBase Encoding = "cl100k_base" // gpt-4 and gpt-3.5
)

// EncodingFor is the encoding of a model by its name. Other vendors' models get
// O200kBase: their own vocabularies differ, and the budget is a measure, not a
// bill.
func EncodingFor(modelName string) Encoding {
	name := strings.TrimPrefix(strings.ToLower(modelName), "ft:")
	for _, later := range []string{"gpt-4o", "gpt-4.1", "gpt-4.5"} {
		if strings.HasPrefix(name, later) {
			return O200kBase
		}
	}
	for _, older := range []string{"gpt-4", "gpt-3.5", "gpt-35"} {
		if strings.HasPrefix(name, older) {
			return Cl100kBase
		}
	}
	return O200kBase
}

// maxPiece bounds what the tokenizer sees at once. Its pattern takes time
// quadratic in the length of some texts: 64 KiB of " \n" repeated took 2.7 s in
// one piece, 45 ms in pieces of 1 KiB.
const maxPiece = 1 << 10

// newCounter gives a function that counts tokens. It loads the vocabulary when
// it is first called: 12 ms and 6 MiB for O200kBase, once per process.
func newCounter(e Encoding) func(text string) int {
	load := sync.OnceValues(func() (tokenizer.Codec, error) { return tokenizer.Get(tokenizer.Encoding(e)) })
	return func(text string) int {
		codec, err := load()
		if err != nil {
			return len(text) // a token is at least a byte
		}
		sum := 0
		for text != "" {
			var piece string
			piece, text = pieceOf(text)
			n, err := codec.Count(piece)
			if err != nil {
				n = len(piece)
			}
			sum += n
		}
		return sum
	}
}

// pieceOf takes a piece off a text. It cuts before a space if there is one in the
// second half, as a token often begins there, else between characters.
func pieceOf(text string) (piece, rest string) {
	if len(text) <= maxPiece {
		return text, ""
	}
	at := maxPiece
	for at > maxPiece-utf8.UTFMax && !utf8.RuneStart(text[at]) {
		at--
	}
	if space := strings.LastIndexByte(text[:at], ' '); space > maxPiece/2 {
		at = space
	}
	return text[:at], text[at:]
}
