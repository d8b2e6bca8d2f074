package deliver

import (
	"crypto/sha256"
	"encoding/base32"
	"strconv"
	"strings"
)

// maxKey is what the strictest platform takes (Feishu: uuid, facts).
const maxKey = 50

// Parts numbers the pieces of the answer to message id.
func Parts(id string, texts []string) []Part {
	parts := make([]Part, len(texts))
	for i, text := range texts {
		parts[i] = Part{Number: i + 1, Of: len(texts), Key: PartKey(id, strconv.Itoa(i+1)), Text: text}
	}
	return parts
}

// PartKey names what is sent for a message: its name stays the same for every try
// and every replay, whatever the process.
func PartKey(id, what string) string {
	sum := sha256.Sum256([]byte(id + "\x00" + what))
	key := strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:]))
	return key[:min(len(key), maxKey)]
}
