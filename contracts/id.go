package contracts

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Lengths, in characters, of the parts of an id. Every part is lower-case
// base32hex without padding, so it is one subject token and one key part.
const (
	conversationLen = 26 // 16 bytes
	digestLen       = 16 // 10 bytes
	tagLen          = 16 // 10 bytes
	maxTimeLen      = 10 // Unix milliseconds in base 36
	maxReplayLen    = 4  // digits of a replay number
)

var idEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// ErrID is the cause when a string is not a message id.
var ErrID = errors.New("not a message id")

// ID is a message id, "<conversation>.<time>.<digest>.<tag>". From an id alone
// one knows its keys in Redis, its age, and (with the key) that we made it and
// for whom. A replayed dead letter carries "#r<n>" behind it.
type ID struct {
	Conversation string
	At           time.Time // to the millisecond
	Digest       string
	Tag          string
	Replay       int // 0: the original
}

// String is the id on the wire.
func (id ID) String() string {
	var b strings.Builder
	b.Grow(conversationLen + maxTimeLen + digestLen + tagLen + 3)
	b.WriteString(id.Conversation)
	b.WriteByte('.')
	b.WriteString(strconv.FormatInt(id.At.UnixMilli(), 36))
	b.WriteByte('.')
	b.WriteString(id.Digest)
	b.WriteByte('.')
	b.WriteString(id.Tag)
	if id.Replay > 0 {
		b.WriteString("#r")
		b.WriteString(strconv.Itoa(id.Replay))
	}
	return b.String()
}

// ParseID reads what String wrote and nothing else: two different strings never
// parse to the same id. It does not prove that the id is genuine.
func ParseID(s string) (ID, error) {
	base, replay, replayed := strings.Cut(s, "#r")
	parts := strings.Split(base, ".")
	if len(s) > 128 || len(parts) != 4 {
		return ID{}, ErrID
	}
	id := ID{Conversation: parts[0], Digest: parts[2], Tag: parts[3]}
	if !IsConversation(id.Conversation) || !isBase32(id.Digest, digestLen) || !isBase32(id.Tag, tagLen) {
		return ID{}, ErrID
	}
	ms, err := canonicalInt(parts[1], 36, maxTimeLen)
	if err != nil {
		return ID{}, err
	}
	id.At = time.UnixMilli(ms).UTC()
	if replayed {
		n, err := canonicalInt(replay, 10, maxReplayLen)
		if err != nil || n == 0 {
			return ID{}, ErrID
		}
		id.Replay = int(n)
	}
	return id, nil
}

// canonicalInt parses a non-negative number that FormatInt would write alike.
func canonicalInt(s string, base, maxLen int) (int64, error) {
	if len(s) == 0 || len(s) > maxLen {
		return 0, ErrID
	}
	n, err := strconv.ParseInt(s, base, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, base) != s {
		return 0, ErrID
	}
	return n, nil
}

// IsConversation reports whether s has the form of a conversation name.
func IsConversation(s string) bool { return isBase32(s, conversationLen) }

func isBase32(s string, length int) bool {
	if len(s) != length {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'v') {
			return false
		}
	}
	return true
}

// Namer makes and checks names with a key that never rotates: a new key would
// give every conversation and every retried request another name.
type Namer struct{ key []byte }

// NewNamer takes a secret key of at least 32 bytes.
func NewNamer(key []byte) (*Namer, error) {
	if len(key) < 32 {
		return nil, fmt.Errorf("the id key has %d bytes, at least 32 are needed", len(key))
	}
	return &Namer{key: append([]byte(nil), key...)}, nil
}

// Scope says whose a conversation is.
type Scope struct {
	Channel Channel
	App     string // application of an IM channel; empty for the API
	Caller  string // the authenticated user; nobody reaches another's session
	Session string // session or chat id as the caller names it
}

// Conversation is the one-token name of the conversation that s describes.
func (n *Namer) Conversation(s Scope) string {
	return n.sum(16, "conversation", string(s.Channel), s.App, s.Caller, s.Session)
}

// Digest is a keyed digest of parts, as long as the digest of an id.
func (n *Namer) Digest(purpose string, parts ...string) string {
	return n.sum(10, append([]string{"digest", purpose}, parts...)...)
}

// Encode gives random as an id's digest; it must hold 10 bytes or more.
func (n *Namer) Encode(random []byte) string { return idEncoding.EncodeToString(random[:10]) }

// NewID makes the id of a message of caller. Calls with the same arguments give
// the same id, which is what makes a retry recognizable.
func (n *Namer) NewID(conversation, caller string, at time.Time, digest string) ID {
	id := ID{Conversation: conversation, At: time.UnixMilli(at.UnixMilli()).UTC(), Digest: digest}
	id.Tag = n.tag(id, caller)
	return id
}

// Genuine reports, in constant time, whether NewID made id for caller.
func (n *Namer) Genuine(id ID, caller string) bool {
	return hmac.Equal([]byte(id.Tag), []byte(n.tag(id, caller)))
}

func (n *Namer) tag(id ID, caller string) string {
	return n.sum(10, "tag", caller, id.Conversation, strconv.FormatInt(id.At.UnixMilli(), 36), id.Digest)
}

// sum is a keyed digest of parts. Each part is preceded by its length, so no
// two lists of parts give the same input.
func (n *Namer) sum(size int, parts ...string) string {
	in := make([]byte, 0, 256)
	for _, p := range parts {
		in = append(binary.BigEndian.AppendUint32(in, uint32(len(p))), p...)
	}
	mac := hmac.New(sha256.New, n.key)
	mac.Write(in)
	return idEncoding.EncodeToString(mac.Sum(nil)[:size])
}
